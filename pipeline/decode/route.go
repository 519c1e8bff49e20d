package decode

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// CodeRoute rejects a unit that no table is found for.
const CodeRoute = "route"

// Rule sends units to a table.
type Rule struct {
	// Topic is the name of the stream; "*" stands for any characters. Empty: any.
	Topic string

	// Field is a JSON pointer to a string, number or boolean of the record, whose text
	// stands for {value} in Table. A unit without it is rejected. Empty: none.
	Field string

	// Table is the name of the table. {topic} in it stands for the name of the stream,
	// its dots turned into underscores.
	Table string

	// MaxTables is how many tables the values of Field may make, see [pipeline.Admit].
	MaxTables int
}

// RouteConfig is where units go.
type RouteConfig struct {
	// Rules are tried in order: the first whose Topic matches decides. If none
	// matches, units are rejected.
	Rules []Rule

	// Reserved are tables that no value of a field leads to, such as the dead-letter
	// table.
	Reserved []string

	// Whole says that the decoder makes one row of a unit, whatever that is: batches that
	// go to one table as a whole are never looked into.
	Whole bool

	// BadTable says why a table that a value leads to cannot have its name, or "". Nil:
	// any can.
	BadTable func(name string) string

	// Options are those of the decoder: what it would reject is rejected here.
	schema.Options
}

// Route is the stage that makes the parts of a batch. Batches that go to one table
// as a whole are not looked into, unless a stage before has split their records: what
// it made of them may hold several values, and these are numbered on through the record.
// RouteConfig.Whole spares the latter.
type Route struct {
	cfg      RouteConfig
	paths    [][]string // of the rules' fields
	admit    pipeline.Admit
	reserved map[string]bool
	split    *schema.Splitter

	known  map[string]bool // answers of admit
	all    []int32
	values [][]byte
	src    []int32
	sub    []int32
	keys   [][]byte
	parts  []pipeline.Part
	byName map[string]int // index into parts
	target map[string]string
}

var _ pipeline.Stage = (*Route)(nil)

// NewRoute returns a stage. admit is asked before a name that a value leads to is
// used; an error of it stops the batch.
func NewRoute(cfg RouteConfig, admit pipeline.Admit) (*Route, error) {
	r := &Route{
		cfg: cfg, admit: admit, reserved: map[string]bool{}, split: schema.NewSplitter(cfg.Options),
		known: map[string]bool{}, byName: map[string]int{}, target: map[string]string{},
	}
	for _, t := range cfg.Reserved {
		r.reserved[t] = true
	}
	var errs []error
	for i, rule := range cfg.Rules {
		path, err := parsePointer(rule.Field)
		switch hasValue := strings.Contains(rule.Table, valueMark); {
		case err != nil:
			errs = append(errs, fmt.Errorf("routes[%d].field: %w", i, err))
		case rule.Table == "":
			errs = append(errs, fmt.Errorf("routes[%d].table: missing", i))
		case hasValue && rule.Field == "":
			errs = append(errs, fmt.Errorf("routes[%d].table: %q has %s, but there is no field", i, rule.Table, valueMark))
		case !hasValue && rule.Field != "":
			errs = append(errs, fmt.Errorf("routes[%d].table: %q lacks %s for the field %q", i, rule.Table, valueMark, rule.Field))
		}
		r.paths = append(r.paths, path)
	}
	return r, errors.Join(errs...)
}

const (
	topicMark = "{topic}"
	valueMark = "{value}"
)

// parsePointer returns the tokens of a JSON pointer; "" has none.
func parsePointer(p string) ([]string, error) {
	if p == "" {
		return nil, nil
	}
	if p[0] != '/' {
		return nil, fmt.Errorf("%q is no JSON pointer: it must begin with /, as in /event/type", p)
	}
	tokens := strings.Split(p[1:], "/")
	for i, t := range tokens {
		tokens[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(t)
	}
	return tokens, nil
}

// Process implements [pipeline.Stage]. What it sets in b is valid until the next
// call.
func (r *Route) Process(ctx context.Context, b *pipeline.Batch) error {
	switch i, table := find(r.cfg.Rules, b.Name); {
	case i < 0:
	case r.cfg.Rules[i].Field == "" && (b.Sub == nil || r.cfg.Whole):
		r.whole(b, table)
		return nil
	default:
		return r.units(ctx, b, &r.cfg.Rules[i], r.paths[i], table)
	}
	for i, v := range b.Values {
		u := int32(i)
		b.Rejects = append(b.Rejects, reject(b, u, subOf(b, u, 0), schema.Reject{
			Code: CodeRoute, Message: fmt.Sprintf("no route is for the stream %q", b.Name), Payload: v,
		}))
	}
	return nil
}

// find returns the rule for a stream and the name of its table, in which {value} is
// still to be replaced; -1 if there is none.
func find(rules []Rule, stream string) (i int, table string) {
	for i, rule := range rules {
		if matches(rule.Topic, stream) {
			return i, strings.ReplaceAll(rule.Table, topicMark, strings.ReplaceAll(stream, ".", "_"))
		}
	}
	return -1, ""
}

// whole sends the batch to one table.
func (r *Route) whole(b *pipeline.Batch, table string) {
	r.all = r.all[:0]
	for i := range b.Values {
		r.all = append(r.all, int32(i))
	}
	r.parts = append(r.parts[:0], pipeline.Part{Table: table, Units: r.all})
	b.Parts = r.parts
}

// reject returns a reject of unit u, or of a part of it, under its number in the record.
func reject(b *pipeline.Batch, u, sub int32, r schema.Reject) pipeline.Reject {
	return pipeline.Reject{Rec: b.Record(u), Sub: sub, Code: r.Code, Message: r.Message, Path: r.Path, Payload: r.Payload}
}

// units splits the values and sends every unit where the rule says.
func (r *Route) units(ctx context.Context, b *pipeline.Batch, rule *Rule, path []string, template string) error {
	r.values, r.src, r.sub, r.keys = r.values[:0], r.src[:0], r.sub[:0], r.keys[:0]
	r.parts = r.parts[:0]
	clear(r.byName)
	clear(r.target)
	rec, next := int32(-1), int32(0) // the record, and the next number in it that is free
	for i, val := range b.Values {
		u := int32(i)
		if at := b.Record(u); at != rec {
			rec, next = at, 0
		}
		first := max(next, subOf(b, u, 0))
		if skip := r.split.Open(val); skip != "" {
			b.Drop(skip, 1)
			continue
		}
		for {
			unit, ok := r.split.Next()
			if !ok {
				break
			}
			if unit.Reject != nil {
				next = first + unit.Reject.Sub + 1
				bad := reject(b, u, next-1, *unit.Reject)
				if rule.Field == "" {
					bad.Table = template
				}
				b.Rejects = append(b.Rejects, bad)
				continue
			}
			next = first + unit.Sub + 1
			table, why, err := r.table(ctx, rule, path, template)
			if err != nil {
				return err
			}
			if why != "" {
				b.Rejects = append(b.Rejects, reject(b, u, next-1, r.split.Refuse(CodeRoute, why, rule.Field)))
				continue
			}
			r.send(table, int32(len(r.values)))
			r.values = append(r.values, unit.Value)
			r.src, r.sub = append(r.src, rec), append(r.sub, next-1)
			if b.Keys != nil {
				r.keys = append(r.keys, b.Keys[u])
			}
		}
	}
	if b.Keys != nil {
		b.Keys = r.keys
	}
	b.Values, b.Src, b.Sub, b.Parts = r.values, r.src, r.sub, r.parts
	return nil
}

// send adds a unit to the part of a table.
func (r *Route) send(table string, unit int32) {
	i, ok := r.byName[table]
	if !ok {
		i = len(r.parts)
		r.byName[table] = i
		r.parts = append(r.parts, pipeline.Part{Table: table})
	}
	r.parts[i].Units = append(r.parts[i].Units, unit)
}

// maxKnown bounds how many answers of admit, and names, are kept.
const maxKnown = 10_000

// table returns the table of the unit that was found last, or why it has none.
func (r *Route) table(ctx context.Context, rule *Rule, path []string, template string) (table, why string, err error) {
	if rule.Field == "" {
		return template, "", nil
	}
	value, ok := r.split.Scalar(path)
	if !ok {
		return "", "the record has no text, number or boolean at " + rule.Field, nil
	}
	table, ok = r.target[string(value)]
	if !ok {
		if why = badName(value); why != "" {
			return "", why, nil
		}
		table = strings.ReplaceAll(template, valueMark, string(value))
		if r.cfg.BadTable != nil {
			if why = r.cfg.BadTable(table); why != "" {
				return "", why, nil
			}
		}
		if len(r.target) < maxKnown {
			r.target[string(value)] = table
		}
	}
	if r.reserved[table] {
		return "", fmt.Sprintf("the table %q is reserved", table), nil
	}
	admitted, ok := r.known[table]
	if !ok {
		if admitted, err = r.admit(ctx, table, rule.MaxTables); err != nil {
			return "", "", fmt.Errorf("admit table %q: %w", table, err)
		}
		if len(r.known) < maxKnown {
			r.known[table] = admitted
		}
	}
	if !admitted {
		return "", fmt.Sprintf("the table %q is beyond the %d that values of %s may make", table, rule.MaxTables, rule.Field), nil
	}
	return table, "", nil
}

// maxNameBytes bounds what a value adds to a table's name.
const maxNameBytes = 128

// badName tells why a value cannot be part of a table's name, or "".
func badName(v []byte) string {
	const plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
	switch {
	case len(v) == 0:
		return "an empty text names no table"
	case len(v) > maxNameBytes:
		return fmt.Sprintf("a text of %d bytes names no table, the limit is %d", len(v), maxNameBytes)
	case strings.Trim(string(v), plain) != "":
		return fmt.Sprintf("%q names no table: only letters a to z, digits, _ and - may", v)
	case len(v) >= len(schema.Reserved)-1 && strings.EqualFold(string(v[:len(schema.Reserved)-1]), strings.TrimSuffix(schema.Reserved, "_")):
		return fmt.Sprintf("%q is reserved", v)
	}
	return ""
}

// matches tells whether a name matches a pattern in which "*" stands for any
// characters; "" matches all.
func matches(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	if !strings.HasPrefix(name, parts[0]) {
		return false
	}
	name = name[len(parts[0]):]
	last := parts[len(parts)-1]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(name, p)
		if i < 0 {
			return false
		}
		name = name[i+len(p):]
	}
	return strings.HasSuffix(name, last)
}
