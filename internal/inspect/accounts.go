package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/firehosed/firehosed/pipeline"
)

// Account is what a commit says of the rows that it has of a partition, of a table whose
// rows do not say where they came from.
type Account struct {
	What      string // the commit, as messages name it
	Partition pipeline.Partition
	From, To  pipeline.Position // the records
	Rows      int64
	Sum       uint64 // of its rows, see Pinned.Sum; modulo 2^64
}

// account is an Account and what the source says.
type account struct {
	Account
	rows int64
	sum  uint64
}

// accounts are those of a table and a partition, ascending.
type accounts struct {
	all []account
	at  int // where a unit was booked last: the next is near
}

// book adds a unit to the account that its record lies in. false: it is in none.
func (a *accounts) book(u item) bool {
	if a == nil {
		return false
	}
	if a.at >= len(a.all) || !a.all[a.at].run().has(u.at) {
		a.at = sort.Search(len(a.all), func(i int) bool { return u.at < a.all[i].To })
	}
	if a.at >= len(a.all) || !a.all[a.at].run().has(u.at) {
		return false
	}
	a.all[a.at].rows++
	a.all[a.at].sum += u.value.lo
	return true
}

func (a *account) run() run { return run{a.From, a.To} }

// accountsOf sorts the accounts of a table by partition.
func accountsOf(all []Account) map[pipeline.Partition]*accounts {
	by := map[pipeline.Partition]*accounts{}
	for _, a := range all {
		if by[a.Partition] == nil {
			by[a.Partition] = &accounts{}
		}
		by[a.Partition].all = append(by[a.Partition].all, account{Account: a})
	}
	for _, a := range by {
		slices.SortFunc(a.all, func(x, y account) int { return cmp.Compare(x.From, y.From) })
	}
	return by
}

// book counts a unit that a table with accounts must have.
func (v *verifier) book(t *table, p *part, u item) {
	if !t.accounts[p.id].book(u) {
		v.find(Lost, t, p.id.Key(), u.unit)
	}
}

// settleAccounts compares the accounts of the tables that have some with what the source
// said, and books what such a table says of itself.
func (v *verifier) settleAccounts() {
	for _, t := range v.tables {
		if t.pin == nil || t.accounts == nil {
			continue
		}
		for p, of := range t.accounts {
			i := slices.IndexFunc(v.parts, func(q *part) bool { return q.id == p })
			for k := range of.all {
				a := &of.all[k]
				v.report.Rows[t.name] += a.Rows
				if i < 0 {
					v.report.Unverifiable += a.Rows
					v.report.note("%s holds rows of %v, which the source no longer has", t.name, p)
				} else {
					v.settleAccount(t, v.parts[i], a)
				}
			}
		}
		for _, f := range t.pin.Found {
			if f.Kind == "" {
				v.report.Unverifiable += f.Count
				v.report.note("table %s: %s", t.name, f.Detail)
			} else {
				v.report.find(v.o.Findings, Finding{Kind: f.Kind, Table: t.name, Detail: f.Detail}, f.Count)
			}
		}
	}
}

// settleAccount judges an account by how much of it the source was asked for.
func (v *verifier) settleAccount(t *table, p *part, a *account) {
	touched := slices.ContainsFunc(p.gaps, func(g run) bool { return !g.and(a.run()).empty() })
	switch whole := a.From >= p.from && a.To <= p.to || a.From == "" && p.from <= p.origin && a.To <= p.to; {
	case a.rows == a.Rows && a.sum == a.Sum:
		return
	case !whole || touched || p.opaque:
		v.report.Unverifiable += max(a.Rows, a.rows)
		v.report.note("%s: commit %s has %d rows of %v, records from %s to before %s, of which the source does not have all any more",
			t.name, a.What, a.Rows, p.id, v.number(a.From), v.number(a.To))
		return
	}
	f := Finding{Kind: Differs, Table: t.name, Partition: p.id.Key(), Record: v.number(a.From)}
	n := int64(1)
	switch {
	case a.rows > a.Rows:
		f.Kind, n = Lost, a.rows-a.Rows
	case a.rows < a.Rows:
		f.Kind, n = Unexpected, a.Rows-a.rows
	}
	f.Detail = fmt.Sprintf("commit %s has %d rows of the records from here to before %s, the source says %d", a.What, a.Rows, v.number(a.To), a.rows)
	if f.Kind == Differs {
		f.Detail = fmt.Sprintf("rows of commit %s, of the records from here to before %s, are not what the source says", a.What, v.number(a.To))
	}
	v.report.find(v.o.Findings, f, n)
}
