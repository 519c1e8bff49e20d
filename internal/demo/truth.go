package demo

import (
	"context"
	"fmt"
)

// truth knows of every record what must become of it. Records go round the
// partitions, so record i has offset i / partitions.
type truth struct {
	rows, dead int64
	total      int
}

func newTruth(total int) *truth {
	t := &truth{total: total}
	for i := range total {
		if isBroken(i) {
			t.dead++
		} else {
			t.rows++
		}
	}
	return t
}

// add returns where record i goes.
func (t *truth) add(i int) (partition int32, offset int64) {
	return int32(i % partitions), int64(i / partitions)
}

// record is the inverse of add; -1: no such record.
func (t *truth) record(partition int32, offset int64) int {
	if partition < 0 || partition >= partitions || offset < 0 || offset > int64(t.total) {
		return -1
	}
	if i := int(offset)*partitions + int(partition); i < t.total {
		return i
	}
	return -1
}

// Tables reads the demo's tables the way any other reader does: through the
// catalog that the config names. No table yet is not an error.
type Tables interface {
	// Head returns where the metadata of a table is, and the rows of its newest
	// snapshot. "" and 0: there is no such table yet.
	Head(ctx context.Context, table string) (metadata string, rows int64, err error)
	// Coordinates calls visit for every row of a table's newest snapshot, in any order.
	Coordinates(ctx context.Context, table string, visit func(partition int32, offset int64, sub int32) error) error
	Close() error
}

// count is what the tables hold, compared with the truth.
type count struct {
	rows, dead                  int64
	lost, duplicated, misplaced int64
	first                       string // coordinates of the first finding
}

// check counts every row of both tables against the truth, apart from all that
// the product says about itself.
func (t *truth) check(ctx context.Context, tables Tables, table, deadLetters string) (count, error) {
	var c count
	seen := make([]uint8, t.total)
	note := func(format string, args ...any) {
		if c.first == "" {
			c.first = fmt.Sprintf(format, args...)
		}
	}
	scan := func(name string, dead bool, n *int64) error {
		err := tables.Coordinates(ctx, name, func(partition int32, offset int64, sub int32) error {
			*n++
			i := t.record(partition, offset)
			switch {
			case i < 0 || sub != 0 || isBroken(i) != dead:
				c.misplaced++
				note("partition %d, offset %d, sub %d does not belong in %s", partition, offset, sub, name)
			case seen[i] > 0:
				c.duplicated++
				note("partition %d, offset %d is twice in %s", partition, offset, name)
			default:
				seen[i]++
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("count the rows of %s: %w", name, err)
		}
		return nil
	}
	if err := scan(table, false, &c.rows); err != nil {
		return c, err
	}
	if err := scan(deadLetters, true, &c.dead); err != nil {
		return c, err
	}
	for i, n := range seen {
		if n == 0 {
			p, o := t.add(i)
			c.lost++
			note("partition %d, offset %d is nowhere", p, o)
		}
	}
	return c, nil
}
