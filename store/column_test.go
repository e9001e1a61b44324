package store

import (
	"fmt"
	"testing"

	clickhousecolumn "github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/google/go-cmp/cmp"
)

// loaded gives a column to the driver, as an INSERT does, and reads the driver's
// column back.
func loaded(t *testing.T, c column) clickhousecolumn.Interface {
	t.Helper()
	dst, err := clickhousecolumn.Type(c.Type()).Column(c.Name(), &clickhousecolumn.ServerContext{})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.load(&loader{}, dst); err != nil {
		t.Fatal(err)
	}
	return dst
}

// TestDictionary fills a column with dictionaries of each width of key.
func TestDictionary(t *testing.T) {
	for _, distinct := range []int{0, 1, 255, 256, 257, 65_535, 65_536, 70_000} {
		var c dict
		c.low("tool")
		rows := distinct + 3
		c.grow(rows)
		for row := range distinct {
			c.set(row, fmt.Sprintf("tool-%d", row))
		}
		dst := loaded(t, &c)
		if dst.Rows() != rows {
			t.Fatalf("%d distinct: %d rows, want %d", distinct, dst.Rows(), rows)
		}
		for row := range rows {
			if got := dst.Row(row, false); got != c.value(row) {
				t.Fatalf("%d distinct: row %d is %q, want %q", distinct, row, got, c.value(row))
			}
		}
	}
}

func TestDictionaryAfterReset(t *testing.T) {
	var c dict
	c.lowFixed("key_id", 4)
	for _, values := range [][]string{{"aaaa", "bbbb", ""}, {"bbbb"}, {"cccc", "aaaa"}} {
		c.reset()
		c.grow(len(values))
		for row, v := range values {
			c.set(row, v)
		}
		for row, v := range values {
			if v == "" {
				v = "\x00\x00\x00\x00"
			}
			if c.value(row) != v {
				t.Errorf("row %d is %q, want %q", row, c.value(row), v)
			}
		}
	}
}

func TestLists(t *testing.T) {
	var c list[string]
	lows(&c, "subjects")
	c.grow(3)
	c.add(1, "a")
	c.add(1, "b")
	c.grow(2)
	c.add(4, "a")
	dst := loaded(t, &c)
	var got [][]string
	for row := range dst.Rows() {
		got = append(got, dst.Row(row, false).([]string))
	}
	if diff := cmp.Diff([][]string{{}, {"a", "b"}, {}, {}, {"a"}}, got); diff != "" {
		t.Error(diff)
	}
}

// TestTimes keeps every nanosecond, also outside the years that a clock shows.
func TestTimes(t *testing.T) {
	var c number[int64]
	c.as("received", timeType)
	c.rows = []int64{0, 1, -1, 1_767_603_600_123_456_789, -9_000_000_000_000_000_000}
	dst := loaded(t, &c)
	for row, want := range c.rows {
		var got int64
		if err := dst.ScanRow(&got, row); err != nil || got != want {
			t.Errorf("row %d: %d, %v, want %d", row, got, err, want)
		}
	}
}

func TestShow(t *testing.T) {
	for value, want := range map[string]string{"plain": `"plain"`, "\x00\xff": "00ff", "": `""`, "it's": `"it's"`} {
		if got := showText(value); got != want {
			t.Errorf("%q shows as %s, want %s", value, got, want)
		}
	}
}
