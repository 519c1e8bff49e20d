package inspect

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Kind is what is wrong with a unit.
type Kind string

// The kinds of findings.
const (
	Lost       Kind = "lost"       // below the watermark or the group position, and not in its table
	Duplicated Kind = "duplicated" // more than once, or in two tables
	Unexpected Kind = "unexpected" // in a table, and no record says so
	Differs    Kind = "differs"    // the row's values are not the record's
)

// Finding is the coordinates of a violation.
type Finding struct {
	Kind      Kind   `json:"kind"`
	Table     string `json:"table"`
	Partition string `json:"partition"` // source key, or what the row says if the source has no such partition
	Record    string `json:"record"`    // its offset or sequence number
	Sub       int32  `json:"sub"`
	Detail    string `json:"detail,omitempty"` // what more there is to say, of tables whose rows do not say where they came from
}

// String returns the finding in a line.
func (f Finding) String() string {
	switch {
	case f.Detail == "":
		return fmt.Sprintf("%s: table %s, %s record %s sub %d", f.Kind, f.Table, f.Partition, f.Record, f.Sub)
	case f.Partition == "":
		return fmt.Sprintf("%s: table %s: %s", f.Kind, f.Table, f.Detail)
	}
	return fmt.Sprintf("%s: table %s, %s record %s: %s", f.Kind, f.Table, f.Partition, f.Record, f.Detail)
}

// Decision is something an operator decided that explains rows that are not there.
type Decision struct {
	Kind string `json:"kind"`
	What string `json:"what"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	Who  string `json:"who,omitempty"`
}

// Report is the outcome of a verification. Counts are units, not records.
type Report struct {
	Pipeline     string           `json:"pipeline"`
	Units        int64            `json:"units"` // judged to be a row or a dead letter
	Rows         map[string]int64 `json:"rows"`  // by table, as they are there
	Lost         int64            `json:"lost"`
	Duplicated   int64            `json:"duplicated"`
	Unexpected   int64            `json:"unexpected"`
	Differs      int64            `json:"differs"`
	Pending      int64            `json:"pending"` // between the group position and the end of the log; 0 of logs whose positions have no distance
	Unverifiable int64            `json:"unverifiable"`
	Dropped      map[string]int64 `json:"dropped,omitempty"` // by the name of the rule
	Findings     []Finding        `json:"findings,omitempty"`
	Decisions    []Decision       `json:"decisions,omitempty"`
	Notes        []string         `json:"notes,omitempty"`
	Seconds      float64          `json:"seconds"`
}

// Exit codes of the command.
const (
	ExitProven     = 0 // nothing lost, duplicated or unexpected
	ExitViolated   = 1
	ExitIncomplete = 2 // no violation found, and parts could not be judged
)

// ExitCode returns what the command exits with.
func (r *Report) ExitCode() int {
	switch {
	case r.Lost+r.Duplicated+r.Unexpected+r.Differs > 0:
		return ExitViolated
	case r.Unverifiable > 0:
		return ExitIncomplete
	}
	return ExitProven
}

// find counts a violation of so many units and keeps the first of its kind.
func (r *Report) find(keep int, f Finding, units int64) {
	var n *int64
	switch f.Kind {
	case Lost:
		n = &r.Lost
	case Duplicated:
		n = &r.Duplicated
	case Unexpected:
		n = &r.Unexpected
	case Differs:
		n = &r.Differs
	default:
		panic("BUG: finding of kind " + f.Kind)
	}
	if *n < int64(keep) {
		r.Findings = append(r.Findings, f)
	}
	*n += units
}

// maxNotes bounds the notes of a report.
const maxNotes = 100

func (r *Report) note(format string, args ...any) {
	if s := fmt.Sprintf(format, args...); len(r.Notes) < maxNotes && !slices.Contains(r.Notes, s) {
		r.Notes = append(r.Notes, s)
	}
}

// WriteTo writes the report for people.
func (r *Report) WriteTo(w io.Writer) (int64, error) {
	var b strings.Builder
	verdict := map[int]string{
		ExitProven: "proven: nothing lost, duplicated or unexpected", ExitViolated: "VIOLATION", ExitIncomplete: "incomplete: parts could not be judged",
	}[r.ExitCode()]
	fmt.Fprintf(&b, "pipeline %s: %s\n", r.Pipeline, verdict)
	fmt.Fprintf(&b, "  %d units judged in %.1f s\n", r.Units, r.Seconds)
	fmt.Fprintf(&b, "  lost %d, duplicated %d, unexpected %d, differs %d, pending %d, unverifiable %d\n",
		r.Lost, r.Duplicated, r.Unexpected, r.Differs, r.Pending, r.Unverifiable)
	for _, name := range slices.Sorted(maps.Keys(r.Rows)) {
		fmt.Fprintf(&b, "  table %s: %d rows\n", name, r.Rows[name])
	}
	for _, rule := range slices.Sorted(maps.Keys(r.Dropped)) {
		fmt.Fprintf(&b, "  left out by %s: %d\n", rule, r.Dropped[rule])
	}
	for _, d := range r.Decisions {
		fmt.Fprintf(&b, "  decided: %s\n", strings.TrimSpace(strings.Join([]string{d.Kind, d.What, d.From, d.To, d.Who}, " ")))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "  note: %s\n", n)
	}
	for _, f := range r.Findings {
		b.WriteString("  " + f.String() + "\n")
	}
	n, err := io.WriteString(w, b.String())
	return int64(n), err
}
