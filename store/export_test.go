package store

import (
	"io"

	clickhousecolumn "github.com/ClickHouse/clickhouse-go/v2/lib/column"
)

// Write writes every table as the embedded engine reads it.
func (b *Block) Write(to io.Writer) error {
	for _, t := range b.tables() {
		if _, err := (inserted{t}).WriteTo(to); err != nil {
			return err
		}
	}
	return nil
}

// Append gives every column of the block to the driver and sends nothing.
func (b *Block) Append() error {
	for _, t := range b.tables() {
		for _, c := range t.columns {
			dst, err := clickhousecolumn.Type(c.Type()).Column(c.Name(), &clickhousecolumn.ServerContext{})
			if err != nil {
				return err
			}
			if err := c.load(&b.loader, dst); err != nil {
				return err
			}
		}
	}
	return nil
}

// AtOnce is how many of its tables Insert writes at once.
func (b *Block) AtOnce() int { return b.atOnce() }
