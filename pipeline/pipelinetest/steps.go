package pipelinetest

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// Records read "table:column:value". Table x is dropped by rule, z cannot be
// routed, y goes where the revision says, n0 to n9 are names from data with a
// budget, and a value that ends in 9 is no row. At one that ends in 27 the stage
// panics, at 48 the decoder. maxColumns makes the rest rescued.
//
// All records go to a second sink, too, by rules of its own: there x is no rule, so that
// x is a table, b is dropped, and names from data have a budget of their own.
const (
	maxColumns  = 3
	maxTables   = 2
	deadLetters = "dead"
	second      = "second"
)

// sinks are those of a pipeline, by name.
var sinks = []string{"", second}

// named returns the whole name of a sink's table; "" stays none.
func named(sink, table string) string {
	if sink == "" || table == "" {
		return table
	}
	return sink + ":" + table
}

// verdict is where a record goes in a sink, before names from data are admitted.
func verdict(sink, val string, rules int) string {
	table, _, _ := strings.Cut(val, ":")
	switch {
	case sink == second && !trips(val) && table == "x":
	case sink == second && !trips(val) && table == "b":
		return ""
	case trips(val):
		return deadLetters
	case table == "x":
		return ""
	case table == "z":
		return deadLetters
	case table == "y":
		table = []string{"a", "b"}[rules%2]
	}
	return table
}

// trips reports whether the stage panics at the value.
func trips(val string) bool { return strings.HasSuffix(val, "27") }

// poisons reports whether the decoder panics at the value.
func poisons(val string) bool { return strings.HasSuffix(val, "48") }

// refused reports whether a decoder makes a dead letter of the value.
func refused(val string) bool { return strings.HasSuffix(val, "9") || poisons(val) }

func dynamic(table string) bool { return strings.HasPrefix(table, "n") }

// Config returns the pure configuration number n: it decides where y goes.
func Config(n int) []byte { return []byte("rules " + strconv.Itoa(n)) }

func rulesOf(config []byte) (n int, err error) {
	_, err = fmt.Sscanf(string(config), "rules %d", &n)
	return n, err
}

// Plan returns what lanes do to records. Rows are allocated from mem.
func Plan(mem memory.Allocator) pipeline.Plan {
	return func(_ pipeline.Revision, config []byte, admit pipeline.Admit) (func() []pipeline.Steps, error) {
		n, err := rulesOf(config)
		if err != nil {
			return nil, err
		}
		return func() (all []pipeline.Steps) {
			lay := func(b *pipeline.Batch, _ *schema.Schema) (pipeline.Rows, error) { return Lay(mem, b), nil }
			for _, sink := range sinks {
				all = append(all, pipeline.Steps{
					Sink: sink, Stages: []pipeline.Stage{&route{sink: sink, rules: n, admit: admit}}, Decoder: &decoder{mem: mem},
					DeadLetters: named(sink, deadLetters), LayRejects: lay,
				})
			}
			return all
		}, nil
	}
}

type route struct {
	sink   string
	rules  int
	admit  pipeline.Admit
	broken bool
}

func (r *route) Process(ctx context.Context, b *pipeline.Batch) error {
	if r.broken {
		panic("the stage is used again after a panic")
	}
	for i, v := range b.Values {
		if trips(string(v)) {
			r.broken = true
			panic("the stage trips")
		}
		table := verdict(r.sink, string(v), r.rules)
		ok := true
		if dynamic(table) {
			var err error
			if ok, err = r.admit(ctx, named(r.sink, table), maxTables); err != nil {
				return err
			}
		}
		switch {
		case table == "":
			b.Drop("table left out", 1)
			continue
		case table == deadLetters, !ok:
			b.Rejects = append(b.Rejects, pipeline.Reject{Rec: b.Record(int32(i)), Code: "route", Payload: v})
			continue
		}
		table = named(r.sink, table)
		k := 0
		for k < len(b.Parts) && b.Parts[k].Table != table {
			k++
		}
		if k == len(b.Parts) {
			b.Parts = append(b.Parts, pipeline.Part{Table: table})
		}
		b.Parts[k].Units = append(b.Parts[k].Units, int32(i))
	}
	return nil
}

type decoder struct {
	mem    memory.Allocator
	broken bool
}

func (d *decoder) Decode(_ context.Context, b *pipeline.Batch, part pipeline.Part, s *schema.Schema) (pipeline.Rows, error) {
	if d.broken {
		panic("the decoder is used again after a panic")
	}
	var r pipeline.Rows
	var fields []arrow.Field
	if s != nil {
		for i := range s.Fields {
			fields = append(fields, s.Fields[i].ArrowField())
		}
	}
	fields = append(fields, arrow.Field{Name: schema.Rescued, Type: arrow.BinaryTypes.String, Nullable: true})
	bld := array.NewRecordBuilder(d.mem, arrow.NewSchema(fields, nil))
	defer bld.Release()
	for _, i := range part.Units {
		val := string(b.Values[i])
		if poisons(val) && !part.Careful {
			d.broken = true
			panic("the decoder trips")
		}
		if refused(val) {
			r.Rejects = append(r.Rejects, pipeline.Reject{Rec: b.Record(i), Code: "value", Payload: b.Values[i]})
			continue
		}
		name := strings.Split(val, ":")[1]
		at := len(fields) - 1
		if c := s.Column(name); c != nil {
			at = c.ID - 1
		} else {
			if r.Want == nil {
				r.Want = &schema.Schema{ID: -1}
			}
			r.Want.Fields = append(r.Want.Fields, schema.Field{Name: name, Type: &schema.Type{Kind: schema.String}})
		}
		for k := range fields {
			if sb := bld.Field(k).(*array.StringBuilder); k == at {
				sb.Append(val)
			} else {
				sb.AppendNull()
			}
		}
		r.Rec, r.Sub = append(r.Rec, b.Record(i)), append(r.Sub, 0)
	}
	r.Data = bld.NewRecordBatch()
	return r, nil
}

// Lay lays b.Rejects out for a table of dead letters.
func Lay(mem memory.Allocator, b *pipeline.Batch) pipeline.Rows {
	var r pipeline.Rows
	bld := array.NewRecordBuilder(mem, arrow.NewSchema([]arrow.Field{{Name: schema.Rescued, Type: arrow.BinaryTypes.String}}, nil))
	defer bld.Release()
	for _, j := range b.Rejects {
		bld.Field(0).(*array.StringBuilder).Append(string(j.Payload))
		r.Rec, r.Sub = append(r.Rec, j.Rec), append(r.Sub, j.Sub)
	}
	r.Data = bld.NewRecordBatch()
	return r
}

// readRows returns the value of each row, and an error if a column of the file
// is not in the table's schema.
func readRows(s *schema.Schema, data arrow.RecordBatch) (vals []string, err error) {
	for c, f := range data.Schema().Fields() {
		if f.Name != schema.Rescued && s.Column(f.Name) == nil {
			err = fmt.Errorf("column %s was never committed", f.Name)
		}
		col := data.Column(c).(*array.String)
		vals = append(vals, make([]string, col.Len()-len(vals))...)
		for i := range col.Len() {
			if col.IsValid(i) {
				vals[i] = strings.Clone(col.Value(i))
			}
		}
	}
	return vals, err
}
