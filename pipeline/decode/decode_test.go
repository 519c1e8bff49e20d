package decode

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/google/go-cmp/cmp"

	"github.com/firehosed/firehosed/pipeline"
	"github.com/firehosed/firehosed/schema"
)

// batch returns a batch of a topic as a source would hand it out.
func batch(t *testing.T, mem memory.Allocator, recs ...string) *pipeline.Batch {
	t.Helper()
	b := &pipeline.Batch{Name: "shop.orders"}
	topic := array.NewBuilder(mem, &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Int32, ValueType: arrow.BinaryTypes.String})
	offset := array.NewInt64Builder(mem)
	part := array.NewInt32Builder(mem)
	header := arrow.StructOf(
		arrow.Field{Name: "key", Type: arrow.BinaryTypes.String},
		arrow.Field{Name: "value", Type: arrow.BinaryTypes.Binary, Nullable: true})
	headers := array.NewListBuilderWithField(mem, arrow.Field{Name: "element", Type: header})
	for i, r := range recs {
		v := []byte(r)
		if r == "nil" {
			v = nil
		}
		b.Values = append(b.Values, v)
		b.Times = append(b.Times, int64(1_000_000*i))
		if err := topic.(*array.BinaryDictionaryBuilder).AppendString("shop.orders"); err != nil {
			t.Fatal(err)
		}
		offset.Append(int64(100 + i))
		part.Append(3)
		headers.Append(true)
		st := headers.ValueBuilder().(*array.StructBuilder)
		for j := range i % 3 {
			st.Append(true)
			st.FieldBuilder(0).(*array.StringBuilder).Append(fmt.Sprint("h", j))
			st.FieldBuilder(1).(*array.BinaryBuilder).Append([]byte{byte(i)})
		}
	}
	builders := []array.Builder{topic, offset, part, headers}
	names := []string{schema.ColTopic, schema.ColOffset, schema.ColPartition, schema.ColHeaders}
	var fields []arrow.Field
	var cols []arrow.Array
	for i, bld := range builders {
		col := bld.NewArray()
		defer col.Release()
		bld.Release()
		fields = append(fields, arrow.Field{Name: names[i], Type: col.DataType(), Nullable: true})
		cols = append(cols, col)
	}
	b.Meta = array.NewRecordBatch(arrow.NewSchema(fields, nil), cols, int64(len(recs)))
	return b
}

// metaColumns are what a table has for the batches above.
func metaColumns() []schema.Field {
	typ := func(s string) *schema.Type {
		t, err := schema.ParseType(s)
		if err != nil {
			panic(err)
		}
		return t
	}
	return []schema.Field{
		{ID: 101, Name: schema.ColTopic, Type: typ("string")},
		{ID: 102, Name: schema.ColPartition, Type: typ("int")},
		{ID: 103, Name: schema.ColOffset, Type: typ("long")},
		{ID: 104, Name: schema.ColSub, Type: typ("int")},
		{ID: 105, Name: schema.ColHeaders, Type: typ("list<struct<key: string, value: binary>>")},
		{ID: 106, Name: schema.ColIngestedAt, Type: typ("timestamptz")},
		{ID: 107, Name: schema.Rescued, Type: typ("string")},
	}
}

func table(t *testing.T, columns string) *schema.Schema {
	t.Helper()
	typ, err := schema.ParseType("struct<" + columns + ">")
	if err != nil {
		t.Fatal(err)
	}
	for i := range typ.Fields {
		typ.Fields[i].ID = i + 1
	}
	return &schema.Schema{ID: 1, Fields: append(typ.Fields, metaColumns()...)}
}

// text returns the rows of a batch as JSON, a line each.
func text(t *testing.T, data arrow.RecordBatch) []string {
	t.Helper()
	var b bytes.Buffer
	if err := array.RecordToJSON(data, &b); err != nil {
		t.Fatal(err)
	}
	out := strings.Split(strings.TrimSpace(b.String()), "\n")
	if out[0] == "" {
		return nil
	}
	return out
}

func all(b *pipeline.Batch, name string) pipeline.Part {
	p := pipeline.Part{Table: name}
	for i := range b.Values {
		p.Units = append(p.Units, int32(i))
	}
	return p
}

func noon() time.Time { return time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC) }

func TestJSON(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	b := batch(t, mem, `{"a":1}`, "nil", `{"a":2}{"a":"x"}`, " ", `{"a":3}z`)
	defer b.Meta.Release()
	j := NewJSON(Config{Options: schema.Options{Mem: mem}, Now: noon})
	rows, err := j.Decode(t.Context(), b, all(b, "t"), table(t, "a: long"))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Data.Release()
	want := []string{
		`{"a":1,"_fh_topic":"shop.orders","_fh_partition":3,"_fh_offset":100,"_fh_sub":0,"_fh_headers":[],"_fh_ingested_at":"2026-11-23T12:00:00Z","_fh_rescued":null}`,
		`{"a":2,"_fh_topic":"shop.orders","_fh_partition":3,"_fh_offset":102,"_fh_sub":0,"_fh_headers":[{"key":"h0","value":"Ag=="},{"key":"h1","value":"Ag=="}],"_fh_ingested_at":"2026-11-23T12:00:00Z","_fh_rescued":null}`,
		`{"a":null,"_fh_topic":"shop.orders","_fh_partition":3,"_fh_offset":102,"_fh_sub":1,"_fh_headers":[{"key":"h0","value":"Ag=="},{"key":"h1","value":"Ag=="}],"_fh_ingested_at":"2026-11-23T12:00:00Z","_fh_rescued":"{\"/a\":\"\\\"x\\\"\"}"}`,
		`{"a":3,"_fh_topic":"shop.orders","_fh_partition":3,"_fh_offset":104,"_fh_sub":0,"_fh_headers":[{"key":"h0","value":"BA=="}],"_fh_ingested_at":"2026-11-23T12:00:00Z","_fh_rescued":null}`,
	}
	var got []string
	for _, line := range text(t, rows.Data) {
		got = append(got, canonical(t, line))
	}
	for i := range want {
		want[i] = canonical(t, want[i])
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !slices.Equal(rows.Rec, []int32{0, 2, 2, 4}) || !slices.Equal(rows.Sub, []int32{0, 0, 1, 0}) {
		t.Errorf("rows come from %v.%v", rows.Rec, rows.Sub)
	}
	if len(rows.Rejects) != 1 || rows.Rejects[0].Rec != 4 || rows.Rejects[0].Sub != 1 || rows.Rejects[0].Table != "t" || rows.Rejects[0].Code != schema.CodeTrailing {
		t.Errorf("rejects %+v", rows.Rejects)
	}
	if d := cmp.Diff(map[string]int{"tombstone": 1, "blank": 1}, rows.Dropped); d != "" {
		t.Error(d)
	}
	for _, f := range rows.Data.Schema().Fields() {
		id, _ := f.Metadata.GetValue(schema.FieldIDKey)
		if id == "" || id == "0" {
			t.Errorf("column %s has the id %q", f.Name, id)
		}
	}
}

// canonical orders the members of an object.
func canonical(t *testing.T, line string) string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(line), &v); err != nil {
		t.Fatal(err)
	}
	out, _ := json.Marshal(v)
	return string(out)
}

func TestMetaOfAnotherType(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	b := batch(t, mem, `{"a":1}`, `{"a":2}`, `{"a":3}`)
	defer b.Meta.Release()
	j := NewJSON(Config{Options: schema.Options{Mem: mem}})
	s := &schema.Schema{Fields: []schema.Field{{ID: 1, Name: schema.ColPartition, Type: &schema.Type{Kind: schema.Long}}}}
	rows, err := j.Decode(t.Context(), b, pipeline.Part{Table: "t", Units: []int32{0, 2}}, s)
	if err != nil {
		t.Fatal(err)
	}
	if got := rows.Data.Column(rows.Data.Schema().FieldIndices(schema.ColPartition)[0]).String(); got != "[3 3]" {
		t.Errorf("partition %s", got)
	}
	rows.Data.Release()
	s = &schema.Schema{Fields: []schema.Field{{ID: 1, Name: schema.ColHeaders, Type: &schema.Type{Kind: schema.Int}}}}
	if _, err = j.Decode(t.Context(), b, all(b, "t"), s); err == nil || !strings.Contains(err.Error(), schema.ColHeaders) {
		t.Errorf("a list in a column of integers: %v", err)
	}
}

func TestDeclaredPerTable(t *testing.T) {
	j := NewJSON(Config{Tables: map[string]*schema.Schema{
		"t": {Fields: []schema.Field{{Name: "a", Type: &schema.Type{Kind: schema.Date}}}},
	}})
	b := &pipeline.Batch{Values: [][]byte{[]byte(`{"a":"2026-11-23"}`)}}
	for table, want := range map[string]schema.Kind{"t": schema.Date, "other": schema.String} {
		rows, err := j.Decode(t.Context(), b, all(b, table), nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := rows.Want.Column("a").Type.Kind; got != want {
			t.Errorf("table %s gets %v", table, rows.Want.Column("a").Type)
		}
		rows.Data.Release()
	}
}

// seen says what became of every unit of a batch.
func seen(t *testing.T, b *pipeline.Batch, lay func(p pipeline.Part) pipeline.Rows) []string {
	t.Helper()
	var out []string
	dropped := map[string]int{}
	rejects := slices.Clone(b.Rejects)
	for rule, n := range b.Dropped {
		dropped[rule] += n
	}
	for _, p := range b.Parts {
		rows := lay(p)
		for i := range rows.Rec {
			out = append(out, fmt.Sprintf("%03d.%03d %s", rows.Rec[i], rows.Sub[i], p.Table))
		}
		rejects = append(rejects, rows.Rejects...)
		for rule, n := range rows.Dropped {
			dropped[rule] += n
		}
		rows.Data.Release()
	}
	for _, r := range rejects {
		out = append(out, fmt.Sprintf("%03d.%03d %s %s %q %q", r.Rec, r.Sub, r.Code, r.Path, r.Message, r.Payload))
	}
	slices.Sort(out)
	return append(out, fmt.Sprint(dropped))
}

func admitAll(context.Context, string, int) (bool, error) { return true, nil }

func TestRouteByField(t *testing.T) {
	recs := []string{
		`{"event":{"type":"order"}}`, `{"event":{"type":"click"}} {"event":{"type":"order"}}`, "nil", "",
		`{"event":{"type":"no table"}}`, `{"event":{"type":null}}`, `{"event":{}}`, `{"event":[1]}`, `{"x":1}`,
		`{"event":{"type":7}}`, `{"event":{"type":true}}`, `{"event":{"type":"\u006frder"}}`, `{"event":{"type":"_FH_x"}}`,
		`{"event":{"type":"dlq"}}`, `{"event":{"type":"full"}}`, `{"event":{"type":""}}`, `{"event":{"type":{}}}`,
		`{"event":{"type":"order","type":"order"}}`, `[1]`, `{"event":{"type":"order"}`, "\n \n",
		"{\"event\":{\"type\":\"order\"}}\nbad\n{\"event\":{\"type\":\"order\"}}x", "\x1f\x8b\x08",
	}
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	asked := map[string]int{}
	admit := func(_ context.Context, name string, budget int) (bool, error) {
		asked[name]++
		if budget != 9 {
			t.Errorf("asked with the budget %d", budget)
		}
		return name != "shop.full", nil
	}
	r, err := NewRoute(RouteConfig{
		Rules:    []Rule{{Topic: "other*", Table: "x.y"}, {Field: "/event/type", Table: "shop.{value}", MaxTables: 9}},
		Reserved: []string{"shop.dlq"},
	}, admit)
	if err != nil {
		t.Fatal(err)
	}
	j := NewJSON(Config{Options: schema.Options{Mem: mem}})
	lay := func(b *pipeline.Batch) func(pipeline.Part) pipeline.Rows {
		return func(p pipeline.Part) pipeline.Rows {
			rows, err := j.Decode(t.Context(), b, p, nil)
			if err != nil {
				t.Fatal(err)
			}
			return rows
		}
	}
	var first []string
	for range 2 {
		b := batch(t, mem, recs...)
		if err := r.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		n := len(b.Rejects)
		for _, p := range b.Parts {
			n += len(p.Units)
		}
		if left := b.Dropped["tombstone"] + b.Dropped["blank"]; left != 2 || n < len(b.Values) {
			t.Errorf("%d left out, %d of %d accounted for", left, n, len(b.Values))
		}
		got := seen(t, b, lay(b))
		if first == nil {
			first = got
		} else if d := cmp.Diff(first, got); d != "" {
			t.Errorf("the second batch: %s", d)
		}
		b.Meta.Release()
	}
	want := []string{
		"000.000 shop.order", "001.000 shop.click", "001.001 shop.order",
		`003.000 empty  "the record is empty" ""`,
		`004.000 route /event/type "\"no table\" names no table: only letters a to z, digits, _ and - may" "{\"event\":{\"type\":\"no table\"}}"`,
	}
	if d := cmp.Diff(want, first[:len(want)]); d != "" {
		t.Error(d)
	}
	if asked["shop.order"] != 1 || asked["shop.full"] != 1 || asked["shop.dlq"] != 0 {
		t.Errorf("asked %v", asked)
	}

	sameAsAlone(t, mem, recs, first, lay)
}

// sameAsAlone checks that what is no JSON is rejected as the decoder alone would.
func sameAsAlone(t *testing.T, mem memory.Allocator, recs, first []string, lay func(*pipeline.Batch) func(pipeline.Part) pipeline.Rows) {
	t.Helper()
	alone := batch(t, mem, recs...)
	defer alone.Meta.Release()
	alone.Parts = []pipeline.Part{all(alone, "t")}
	direct := seen(t, alone, lay(alone))
	same := func(lines []string) []string {
		var out []string
		for _, l := range lines {
			if f := strings.Fields(l); len(f) > 2 && f[1] != CodeRoute {
				out = append(out, l)
			} else {
				out = append(out, f[0])
			}
		}
		return out
	}
	if d := cmp.Diff(same(direct), same(first)); d != "" {
		t.Errorf("routed, not alone: %s", d)
	}
}

func TestRouteWhole(t *testing.T) {
	r, err := NewRoute(RouteConfig{Rules: []Rule{
		{Topic: "shop.*", Table: "raw.{topic}"}, {Topic: "*-audit-*", Table: "audit"},
	}}, admitAll)
	if err != nil {
		t.Fatal(err)
	}
	f := func(topic, want string) {
		t.Helper()
		b := &pipeline.Batch{Name: topic, Values: [][]byte{[]byte("not looked at"), nil}}
		if err := r.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		got := ""
		if len(b.Parts) == 1 && len(b.Parts[0].Units) == 2 && b.Sub == nil {
			got = b.Parts[0].Table
		} else if len(b.Rejects) == 2 && b.Rejects[1].Code == CodeRoute && b.Rejects[1].Rec == 1 {
			got = "rejected"
		}
		if got != want {
			t.Errorf("topic %q goes to %q, want %q", topic, got, want)
		}
	}
	f("shop.orders", "raw.shop_orders")
	f("x-audit-y", "audit")
	f("-audit-", "audit")
	f("audit", "rejected")
	f("myshop.orders", "rejected")
}

// What a stage has split may hold several values: they are numbered on through the
// record, whatever the rule, so that no two units of a record have one number.
func TestRouteNumbersOn(t *testing.T) {
	f := func(rule Rule) {
		t.Helper()
		r, err := NewRoute(RouteConfig{Rules: []Rule{rule}, Options: schema.Options{SkipEmpty: true}}, admitAll)
		if err != nil {
			t.Fatal(err)
		}
		b := &pipeline.Batch{Name: "s"}
		for _, u := range []struct {
			val      string
			rec, sub int32
		}{
			{`{"k":"a"}{"k":"b"}`, 0, 0}, {`{"k":"c"}`, 0, 1}, {`{"k":`, 0, 2}, {``, 0, 3}, {`{"k":"d"}`, 0, 9}, // 4 to 8 were dropped
			{`{"k":"e"}`, 1, 0}, {`{"k":"f"} nonsense {"k":"g"}`, 1, 1}, {`{"k":"h"}`, 1, 2},
		} {
			b.Values, b.Src, b.Sub = append(b.Values, []byte(u.val)), append(b.Src, u.rec), append(b.Sub, u.sub)
		}
		if err := r.Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		var got []string
		for i, v := range b.Values {
			got = append(got, fmt.Sprintf("%d.%d %s", b.Src[i], b.Sub[i], v))
		}
		for _, x := range b.Rejects {
			got = append(got, fmt.Sprintf("%d.%d rejected for %q", x.Rec, x.Sub, x.Table))
		}
		want := []string{
			`0.0 {"k":"a"}`, `0.1 {"k":"b"}`, `0.2 {"k":"c"}`, `0.9 {"k":"d"}`, `1.0 {"k":"e"}`, `1.1 {"k":"f"}`, `1.3 {"k":"h"}`,
			fmt.Sprintf(`0.3 rejected for %q`, meant(rule)), fmt.Sprintf(`1.2 rejected for %q`, meant(rule)),
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%+v: %s", rule, d)
		}
		if n := b.Dropped[schema.SkipEmpty]; n != 1 {
			t.Errorf("dropped %v", b.Dropped)
		}
	}
	f(Rule{Table: "all"})
	f(Rule{Field: "/k", Table: "t_{value}"})
}

// meant is the table that all units go to by a rule, "" if each says its own.
func meant(r Rule) string {
	if r.Field == "" {
		return r.Table
	}
	return ""
}

func TestRouteStops(t *testing.T) {
	gone := errors.New("log unreachable")
	r, err := NewRoute(RouteConfig{Rules: []Rule{{Field: "/t", Table: "{value}"}}},
		func(context.Context, string, int) (bool, error) { return false, gone })
	if err != nil {
		t.Fatal(err)
	}
	b := &pipeline.Batch{Values: [][]byte{[]byte(`{"t":"x"}`)}}
	if err := r.Process(t.Context(), b); !errors.Is(err, gone) {
		t.Errorf("Process = %v", err)
	}
	for _, bad := range []Rule{
		{Table: ""}, {Field: "t", Table: "{value}"}, {Field: "/t", Table: "x"}, {Table: "{value}"},
	} {
		if _, err := NewRoute(RouteConfig{Rules: []Rule{bad}}, admitAll); err == nil {
			t.Errorf("rule %+v is accepted", bad)
		}
	}
}

func TestDeadLetters(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	b := batch(t, mem, "a", "b", "c", "d")
	defer b.Meta.Release()
	b.Rejects = []pipeline.Reject{
		{Rec: 1, Sub: 0, Code: "syntax", Message: "bad", Path: "/x", Table: "shop.orders", Payload: []byte("b\xff")},
		{Rec: 1, Sub: 1, Code: "route", Payload: []byte("12345")},
		{Rec: 3, Sub: 0, Code: "tombstone"},
	}
	meta := &schema.Schema{Fields: metaColumns()}
	s := DeadLetterSchema(meta)
	for i := range s.Fields {
		s.Fields[i].ID = i + 1
	}
	for _, s := range []*schema.Schema{s, nil} {
		rows, err := DeadLetters{Rev: 7, MaxPayload: 4, Mem: mem}.Lay(b, s)
		if err != nil {
			t.Fatal(err)
		}
		lines := text(t, rows.Data)
		want := []map[string]any{
			{
				"code": "syntax", "message": "bad", "path": "/x", "target": "shop.orders", "payload": "Yv8=", "payload_size": 2., "rev": 7.,
				"_fh_offset": 101., "_fh_sub": 0., "source_timestamp": "1970-01-01T00:00:01Z", "_fh_topic": "shop.orders",
				"payload_sha256": "7d1016b8ca164152081d146beee2d283458686459be947524a721f88e255c88e",
			},
			{"code": "route", "message": nil, "path": nil, "target": nil, "payload": nil, "payload_size": 5., "_fh_offset": 101., "_fh_sub": 1.},
			{"code": "tombstone", "payload": nil, "payload_size": 0., "_fh_offset": 103., "source_timestamp": "1970-01-01T00:00:03Z"},
		}
		for i, w := range want {
			var got map[string]any
			if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
				t.Fatal(err)
			}
			for k, v := range w {
				if got[k] != v {
					t.Errorf("row %d: %s is %v, want %v", i, k, got[k], v)
				}
			}
		}
		rows.Data.Release()
	}
}
