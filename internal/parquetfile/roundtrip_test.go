package parquetfile

import (
	"math/rand/v2"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/firehosed/firehosed/schema"
)

func everyType() []schema.Field {
	dec := func(p, s int) *schema.Type { return &schema.Type{Kind: schema.Decimal, Precision: p, Scale: s} }
	return []schema.Field{
		opt("bool", prim(schema.Bool)), opt("int", prim(schema.Int)), opt("long", prim(schema.Long)),
		opt("float", prim(schema.Float)), opt("double", prim(schema.Double)),
		opt("dec9", dec(9, 2)), opt("dec18", dec(18, 4)), opt("dec20", dec(20, 0)), opt("dec38", dec(38, 10)),
		opt("date", prim(schema.Date)), opt("time", prim(schema.Time)),
		opt("ts", prim(schema.Timestamp)), opt("tstz", prim(schema.TimestampTZ)),
		opt("tsns", prim(schema.TimestampNS)), opt("tstzns", prim(schema.TimestampTZNS)),
		opt("string", prim(schema.String)), opt("uuid", prim(schema.UUID)),
		opt("fixed", &schema.Type{Kind: schema.Fixed, Length: 5}), opt("binary", prim(schema.Binary)),
	}
}

func nestedTypes() []schema.Field {
	return []schema.Field{
		opt("s", structOf(opt("a", prim(schema.Long)), req("b", prim(schema.String)), opt("c", structOf(opt("d", prim(schema.Bool)))))),
		opt("l", listOf(opt("", prim(schema.String)))),
		opt("lr", listOf(req("", prim(schema.Int)))),
		opt("ll", listOf(opt("", listOf(opt("", prim(schema.Double)))))),
		opt("ls", listOf(opt("", structOf(opt("x", prim(schema.Long)), opt("y", listOf(opt("", prim(schema.String)))))))),
		opt("m", mapOf(prim(schema.String), prim(schema.Long))),
		opt("ms", mapOf(prim(schema.Int), structOf(opt("v", prim(schema.String)), req("w", prim(schema.Long))))),
		req("rs", structOf(req("z", prim(schema.Long)), opt("q", listOf(req("", prim(schema.Binary)))))),
		req("rl", listOf(req("", prim(schema.Long)))),
	}
}

func TestRoundTrip(t *testing.T) {
	schemas := map[string]*schema.Schema{"flat": numbered(everyType()...), "nested": numbered(nestedTypes()...)}
	for name, s := range schemas {
		for _, nulls := range []float64{0, 0.1, 0.9, 1} {
			for _, few := range []bool{false, true} {
				r := &filler{Rand: rand.New(rand.NewPCG(1, 2)), nulls: nulls, few: few, list: 3}
				recs := []arrow.RecordBatch{r.record(s, 100), r.record(s, 1), r.record(s, 1000)}
				t.Run(name, func(t *testing.T) { roundTrip(t, s, Options{}, recs...) })
			}
		}
	}
}
