package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	arrowmem "github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/firehosed/firehosed/consumer/kafka"
	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// A record is words: each is a unit. "a" and "b" go to the tables of that name, "y" where
// the revision says, "bad" is no row for the decoder, "nowhere" none for the router, and
// "x" is dropped by a rule. "" is a hole of the log.

const (
	cluster = "cluster"
	topicID = "00000000-0000-4000-8000-000000000001"
	deadTab = "dead"
)

func partition(n int) pipeline.Partition {
	return pipeline.Partition{Kind: "kafka", Stream: cluster, Incarnation: topicID, ID: strconv.Itoa(n)}
}

// position is the one before an offset.
func position(off int64) pipeline.Position { return pipeline.Position(fmt.Sprintf("%019d", off)) }

// offset is the inverse of position; "" is 0.
func offset(at pipeline.Position) (int64, error) {
	return strconv.ParseInt("0"+string(at), 10, 64)
}

// rowAt is a row of a record of the topic.
func rowAt(part int, off int64, sub int32) Row {
	return Row{Log: topicID + "/" + strconv.Itoa(part), Place: position(off), Sub: sub}
}

// memory is a store.
type memory map[string][]byte

func (m memory) Get(_ context.Context, key string) ([]byte, error) { return m[key], nil }

func (m memory) Swap(_ context.Context, key string, old, val []byte) error {
	if have, ok := m[key]; ok != (old != nil) || !bytes.Equal(have, old) {
		return pipeline.ErrStale
	}
	m[key] = val
	return nil
}

func (m memory) Keys(_ context.Context, prefix string) (keys []string, err error) {
	for k := range m {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

func (m memory) Delete(_ context.Context, key string) error { delete(m, key); return nil }

// world is a source, and tables that hold what they should.
type world struct {
	t       *testing.T
	logs    map[pipeline.Partition][]string
	oldest  map[pipeline.Partition]int
	hints   map[pipeline.Partition]pipeline.Hint
	tables  map[string]*Pinned
	rows    map[string][]Row
	halts   map[string]error
	ctl     *pipeline.Control
	reads   int          // records that were read
	unread  int          // offset of partition 0 that cannot be read; 0: none
	onPin   func()       // called at each Pin
	visits  func(string) // called at each pass over a table
	spoil   func(table string, r Row) bool
	revised map[int64]pipeline.Vector
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, logs: map[pipeline.Partition][]string{}, oldest: map[pipeline.Partition]int{},
		hints: map[pipeline.Partition]pipeline.Hint{}, tables: map[string]*Pinned{}, rows: map[string][]Row{}, halts: map[string]error{},
	}
	w.ctl = pipeline.NewControl(memory{}, "p", "test")
	w.revision("y goes to a")
	return w
}

func (w *world) revision(config string) {
	w.t.Helper()
	_, err := w.ctl.AppendRevision(w.t.Context(), []byte(config), 1, 0)
	w.must(err)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) entry(e pipeline.Entry) {
	w.t.Helper()
	_, err := w.ctl.Append(w.t.Context(), func(*pipeline.Decisions) (*pipeline.Entry, error) { return &e, nil })
	w.must(err)
}

// begin fixes the origins; everything appended before is in the pipeline's range.
func (w *world) begin() {
	w.t.Helper()
	_, err := w.ctl.Origins(w.t.Context(), w, 0, partition(0), time.Time{})
	w.must(err)
}

func (w *world) stamp() pipeline.Stamp { return w.ctl.Known().Stamp() }

// deliver puts every unit below to into its table, as a perfect pipeline does.
func (w *world) deliver(p pipeline.Partition, to int) {
	for _, name := range []string{"a", "b", deadTab} {
		if w.tables[name] == nil {
			w.entry(pipeline.Entry{Kind: pipeline.KindBound, Table: name, Rev: 1})
			w.tables[name] = &Pinned{Ledger: pipeline.Ledger{Marks: map[pipeline.Partition]pipeline.Mark{}}}
		}
	}
	for off, words := range w.logs[p][:to] {
		for sub, word := range strings.Fields(words) {
			name := map[string]string{"a": "a", "b": "b", "bad": deadTab, "nowhere": deadTab, "y": "a"}[word]
			if rev2, ok := w.revised[2]; ok && word == "y" && position(int64(off)) >= rev2[p].At.At {
				name = "b"
			}
			if name == "" {
				continue
			}
			w.rows[name] = append(w.rows[name], rowAt(int(p.ID[0]-'0'), int64(off), int32(sub)))
			w.tables[name].Ledger.Marks[p] = pipeline.Mark{At: pipeline.Cursor{At: position(int64(off) + 1)}}
		}
	}
	w.hints[p] = pipeline.Hint{At: pipeline.Cursor{At: position(int64(to))}, Stamp: w.stamp()}
}

// ---- Tables ----

func (w *world) Pin(_ context.Context, name string, _ bool) (*Pinned, error) {
	if w.onPin != nil {
		w.onPin()
	}
	if err := w.halts[name]; err != nil {
		return nil, err
	}
	pin := *w.tables[name]
	pin.Rows = func(_ context.Context, visit func(Row) error) error {
		if w.visits != nil {
			w.visits(name)
		}
		for _, r := range w.rows[name] {
			if err := visit(r); err != nil {
				return err
			}
		}
		return nil
	}
	pin.Records = func(_ context.Context, visit func(arrow.RecordBatch) error) error {
		rec := records(w.rows[name], func(r Row) bool { return w.spoil != nil && w.spoil(name, r) })
		defer rec.Release()
		return visit(rec)
	}
	return &pin, nil
}

// ---- Source ----

func (w *world) Partitions(context.Context) (ps []pipeline.Partition, err error) {
	for p := range w.logs {
		ps = append(ps, p)
	}
	slices.SortFunc(ps, func(a, b pipeline.Partition) int { return strings.Compare(a.Key(), b.Key()) })
	return ps, nil
}

func (w *world) Name(pipeline.Partition) string { return "topic" }

func (w *world) Hint(_ context.Context, p pipeline.Partition) (pipeline.Hint, error) {
	return w.hints[p], nil
}

func (w *world) Locate(_ context.Context, p pipeline.Partition, t time.Time) (pipeline.Cursor, error) {
	if t.IsZero() {
		return pipeline.Cursor{At: position(int64(w.oldest[p]))}, nil
	}
	return pipeline.Cursor{At: position(int64(len(w.logs[p])))}, nil
}

func (w *world) Oldest(_ context.Context, p pipeline.Partition, _ pipeline.Position) (pipeline.Position, bool, error) {
	return position(int64(w.oldest[p])), w.oldest[p] < len(w.logs[p]), nil
}

func (w *world) Coordinates() pipeline.Coordinates { return kafka.Coordinates{} }

func (w *world) Distance(from, to pipeline.Position) (int64, bool) {
	a, errA := offset(from)
	b, errB := offset(to)
	return b - a, errA == nil && errB == nil
}

func (w *world) Open(_ context.Context, p pipeline.Partition, s pipeline.Start) (pipeline.Reader, error) {
	at, err := offset(s.At.At)
	if err != nil {
		return nil, err
	}
	if int(at) < w.oldest[p] {
		return nil, &pipeline.Halt{Class: pipeline.HaltOvertaken}
	}
	return &reader{w, p, int(at)}, nil
}

type reader struct {
	w  *world
	p  pipeline.Partition
	at int
}

var errUnreadable = errors.New("checksum does not match")

const batchSize = 7

func (r *reader) Next(ctx context.Context) (*pipeline.Batch, error) {
	log := r.w.logs[r.p]
	if r.at >= len(log) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if bad := r.w.unread; bad > 0 && r.p.ID == "0" && r.at <= bad && bad < r.at+batchSize {
		return nil, errUnreadable
	}
	b := &pipeline.Batch{Release: func() {}}
	b.Span = pipeline.Span{Partition: r.p, From: pipeline.Cursor{At: position(int64(r.at))}}
	var offs []int
	for ; r.at < len(log) && len(offs) < batchSize; r.at++ {
		if log[r.at] != "" {
			b.Values, offs = append(b.Values, []byte(log[r.at])), append(offs, r.at)
			r.w.reads++
		}
	}
	b.Span.To = pipeline.Cursor{At: position(int64(r.at))}
	b.Times = make([]int64, len(offs))
	rows := make([]Row, len(offs))
	for i, off := range offs {
		rows[i] = rowAt(int(r.p.ID[0]-'0'), int64(off), 0)
	}
	b.Meta = records(rows, func(Row) bool { return false })
	b.Cursor = func(i int) pipeline.Cursor { return pipeline.Cursor{At: position(int64(offs[i]))} }
	return b, nil
}

func (*reader) Close() error { return nil }

// ---- Steps ----

func plan(_ pipeline.Revision, config []byte, _ pipeline.Admit) (func() []pipeline.Steps, error) {
	y := strings.TrimPrefix(string(config), "y goes to ")
	if y == string(config) {
		return nil, fmt.Errorf("rules of %q are not known", config)
	}
	return func() []pipeline.Steps {
		return []pipeline.Steps{{Stages: []pipeline.Stage{split{}, route{y}}, Decoder: decoder{}, DeadLetters: deadTab, LayRejects: layDead}}
	}, nil
}

type split struct{}

func (split) Process(_ context.Context, b *pipeline.Batch) error {
	var values [][]byte
	src, sub := []int32{}, []int32{}
	for i, val := range b.Values {
		for k, word := range bytes.Fields(val) {
			values, src, sub = append(values, word), append(src, b.Record(int32(i))), append(sub, int32(k))
		}
	}
	b.Values, b.Src, b.Sub = values, src, sub
	return nil
}

type route struct{ y string }

func (r route) Process(_ context.Context, b *pipeline.Batch) error {
	share := map[string]int{}
	for i, word := range b.Values {
		name := string(word)
		switch name {
		case "x":
			b.Drop("rule x", 1)
			continue
		case "nowhere":
			b.Rejects = append(b.Rejects, pipeline.Reject{Rec: b.Src[i], Sub: b.Sub[i], Code: "route"})
			continue
		case "y":
			name = r.y
		case "bad":
			name = "a"
		}
		k, ok := share[name]
		if !ok {
			k = len(b.Parts)
			share[name] = k
			b.Parts = append(b.Parts, pipeline.Part{Table: name})
		}
		b.Parts[k].Units = append(b.Parts[k].Units, int32(i))
	}
	return nil
}

type decoder struct{}

func (decoder) Decode(_ context.Context, b *pipeline.Batch, part pipeline.Part, _ *schema.Schema) (pipeline.Rows, error) {
	var r pipeline.Rows
	for _, i := range part.Units {
		if string(b.Values[i]) == "bad" {
			r.Rejects = append(r.Rejects, pipeline.Reject{Rec: b.Src[i], Sub: b.Sub[i], Code: "bad"})
			continue
		}
		r.Rec, r.Sub = append(r.Rec, b.Src[i]), append(r.Sub, b.Sub[i])
	}
	r.Data = words(r.Rec, func(k int) string { return said(int64(r.Sub[k])) })
	return r, nil
}

// words is rows of one column; what it holds is said.
func words(rec []int32, word func(k int) string) arrow.RecordBatch {
	bld := array.NewStringBuilder(arrowmem.DefaultAllocator)
	defer bld.Release()
	for k := range rec {
		bld.Append(word(k))
	}
	col := bld.NewArray()
	defer col.Release()
	fields := []arrow.Field{{Name: "said", Type: arrow.BinaryTypes.String}}
	return array.NewRecordBatch(arrow.NewSchema(fields, nil), []arrow.Array{col}, int64(len(rec)))
}

// said is what a row holds.
func said(sub int64) string { return fmt.Sprintf("word %d", sub) }

func layDead(b *pipeline.Batch, _ *schema.Schema) (r pipeline.Rows, err error) {
	for _, x := range b.Rejects {
		r.Rec, r.Sub = append(r.Rec, x.Rec), append(r.Sub, x.Sub)
	}
	r.Data = words(r.Rec, func(k int) string { return said(int64(r.Sub[k])) })
	return r, nil
}

// records is the rows of a table with what they hold, which is wrong where spoil says.
func records(rows []Row, spoil func(Row) bool) arrow.RecordBatch {
	fields := []arrow.Field{
		{Name: schema.ColTopicID, Type: arrow.BinaryTypes.String},
		{Name: schema.ColPartition, Type: arrow.PrimitiveTypes.Int32},
		{Name: schema.ColOffset, Type: arrow.PrimitiveTypes.Int64},
		{Name: schema.ColSub, Type: arrow.PrimitiveTypes.Int32},
		{Name: "said", Type: arrow.BinaryTypes.String},
	}
	bld := array.NewRecordBuilder(arrowmem.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer bld.Release()
	for _, r := range rows {
		topic, part, _ := strings.Cut(r.Log, "/")
		bld.Field(0).(*array.StringBuilder).Append(topic)
		bld.Field(1).(*array.Int32Builder).Append(int32(part[0] - '0'))
		off, _ := offset(r.Place)
		bld.Field(2).(*array.Int64Builder).Append(off)
		bld.Field(3).(*array.Int32Builder).Append(r.Sub)
		text := said(int64(r.Sub))
		if spoil(r) {
			text = strings.ToUpper(text)
		}
		bld.Field(4).(*array.StringBuilder).Append(text)
	}
	return bld.NewRecordBatch()
}
