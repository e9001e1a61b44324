package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/agentcustody/custody/store"
)

// tamper is a program that changes a stored value, as somebody with access to the database could:
//
//	tamper STORE COLUMN INDEX VALUE
//
// It sets a text column of the event at an index of the tenant acme. The server must be stopped.
func tamper() {
	if err := change(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tamper:", err)
		os.Exit(1)
	}
}

func change(ctx context.Context, args []string) (err error) {
	if len(args) != 4 {
		return errors.New("usage: tamper STORE COLUMN INDEX VALUE")
	}
	s, err := store.Open(ctx, "chdb://"+args[0], store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	db, column := s.Database(), args[1]
	for _, query := range []string{
		fmt.Sprintf("CREATE TABLE %[1]s.copy AS %[1]s.events", db),
		fmt.Sprintf("INSERT INTO %[1]s.copy SELECT * REPLACE (if(tenant = 'acme' AND idx = %[3]s, '%[4]s', %[2]s) AS %[2]s) FROM %[1]s.events", db, column, args[2], args[3]),
		fmt.Sprintf("EXCHANGE TABLES %[1]s.copy AND %[1]s.events", db),
		fmt.Sprintf("DROP TABLE %s.copy", db),
	} {
		if err := s.Conn().Exec(ctx, query); err != nil {
			return err
		}
	}
	return nil
}
