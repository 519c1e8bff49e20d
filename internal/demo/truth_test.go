package demo

import (
	"context"
	"testing"
)

type coordinate struct {
	partition int32
	offset    int64
	sub       int32
}

type fakeTables map[string][]coordinate

func (f fakeTables) Head(_ context.Context, name string) (string, int64, error) {
	return name, int64(len(f[name])), nil
}

func (f fakeTables) Coordinates(_ context.Context, name string, visit func(int32, int64, int32) error) error {
	for _, c := range f[name] {
		if err := visit(c.partition, c.offset, c.sub); err != nil {
			return err
		}
	}
	return nil
}

func (fakeTables) Close() error { return nil }

func exact(total int) fakeTables {
	f, tr := fakeTables{}, newTruth(total)
	for i := range total {
		p, o := tr.add(i)
		name := table
		if isBroken(i) {
			name = deadLetters
		}
		f[name] = append(f[name], coordinate{p, o, 0})
	}
	return f
}

func TestCheckFindsEveryKindOfFault(t *testing.T) {
	const total = 1_000
	f := func(name string, damage func(fakeTables), want count) {
		t.Helper()
		tables := exact(total)
		damage(tables)
		got, err := newTruth(total).check(t.Context(), tables, table, deadLetters)
		if err != nil {
			t.Fatal(err)
		}
		if (got.first == "") != (want.lost+want.duplicated+want.misplaced == 0) {
			t.Errorf("%s: first finding %q", name, got.first)
		}
		if got.first = ""; got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	tr := newTruth(total)
	f("exact", func(fakeTables) {}, count{rows: tr.rows, dead: tr.dead})
	f("a row is gone", func(f fakeTables) { f[table] = f[table][1:] }, count{rows: tr.rows - 1, dead: tr.dead, lost: 1})
	f("a row is twice", func(f fakeTables) { f[table] = append(f[table], f[table][5]) }, count{rows: tr.rows + 1, dead: tr.dead, duplicated: 1})
	f("a dead letter is gone", func(f fakeTables) { f[deadLetters] = f[deadLetters][1:] }, count{rows: tr.rows, dead: tr.dead - 1, lost: 1})
	f("a dead letter is a row", func(f fakeTables) {
		f[table] = append(f[table], f[deadLetters][0])
		f[deadLetters] = f[deadLetters][1:]
	}, count{rows: tr.rows + 1, dead: tr.dead - 1, lost: 1, misplaced: 1})
	f("a row nobody sent", func(f fakeTables) { f[table] = append(f[table], coordinate{1, 900, 0}) }, count{rows: tr.rows + 1, dead: tr.dead, misplaced: 1})
	f("a second unit", func(f fakeTables) { f[table] = append(f[table], coordinate{1, 0, 1}) }, count{rows: tr.rows + 1, dead: tr.dead, misplaced: 1})
}
