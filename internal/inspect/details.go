package inspect

import (
	"cmp"
	"context"
	"maps"
	"slices"
)

// cell is one unit: the table that must have it, and those that do.
type cell struct {
	want   *table
	value  sum
	have   []*table
	values []sum // of have
}

// details looks at every unit of the spans, as many spans at a time as memory allows.
func (v *verifier) details(ctx context.Context, spans []span, limit int64) error {
	for len(spans) > 0 {
		var now []span
		room := limit
		for len(spans) > 0 && (len(now) == 0 || spans[0].units <= room) {
			room -= spans[0].units
			now, spans = append(now, spans[0]), spans[1:]
		}
		if err := v.look(ctx, now); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) look(ctx context.Context, spans []span) error {
	cells := map[unit]*cell{}
	at := func(u unit) *cell {
		c := cells[u]
		if c == nil {
			c = &cell{}
			cells[u] = c
		}
		return c
	}
	for _, s := range spans {
		err := v.read(ctx, s, visitor{unit: func(u item, t *table) {
			if t.halt == nil && t.accounts == nil && u.at < s.part.must(t) {
				c := at(u.unit)
				c.want, c.value = t, u.value
			}
		}})
		if err != nil {
			return err
		}
	}
	err := v.rows(ctx, spans, false, func(t *table, u item) {
		c := at(u.unit)
		c.have, c.values = append(c.have, t), append(c.values, u.value)
	})
	if err != nil {
		return err
	}
	order := slices.SortedFunc(maps.Keys(cells), func(a, b unit) int {
		return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.at, b.at), cmp.Compare(a.sub, b.sub))
	})
	for _, u := range order {
		if p := v.parts[u.part]; u.at < p.to { // else the source could not be read there this time
			v.settle(p, u, cells[u])
		}
	}
	return nil
}

// settle books what is wrong with a unit.
func (v *verifier) settle(p *part, u unit, c *cell) {
	book := func(kind Kind, t *table) { v.find(kind, t, p.id.Key(), u) }
	there := c.want != nil && slices.Contains(c.have, c.want)
	if c.want != nil && !there {
		switch {
		case c.want.halt != nil: // became unreadable while it was looked at
			v.report.Unverifiable++
		case c.want.pin != nil && c.want.pin.Deleted:
			v.report.Unverifiable++
		default:
			book(Lost, c.want)
		}
	}
	for i, t := range c.have {
		switch {
		case t == c.want && there:
			there = false // the one that ought to be there
			if c.values[i] != c.value {
				book(Differs, t)
			}
		case c.want != nil && slices.Contains(c.have, c.want):
			book(Duplicated, t)
		default:
			book(Unexpected, t)
		}
	}
}
