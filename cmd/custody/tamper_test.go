package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/agentcustody/custody/store"
)

// tamper is a program that changes a store, as somebody with access to the database could:
//
//	tamper STORE SQL…
//
// {db} in a statement is the database. The server must be stopped.
func tamper() {
	if err := change(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "tamper:", err)
		os.Exit(1)
	}
}

func change(ctx context.Context, args []string) (err error) {
	if len(args) < 2 {
		return errors.New("usage: tamper STORE SQL…")
	}
	s, err := store.Open(ctx, "chdb://"+args[0], store.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	for _, query := range args[1:] {
		if err := s.Conn().Exec(ctx, strings.ReplaceAll(query, "{db}", s.Database())); err != nil {
			return fmt.Errorf("%s: %w", query, err)
		}
	}
	return nil
}
