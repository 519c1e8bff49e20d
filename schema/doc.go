// Package schema says what columns a table has, finds them in JSON, and lays
// JSON out in them as Arrow.
//
// The rules are those of docs/design/types.md: a path gets a column when a typed
// value is first seen, types change only by Iceberg's promotions, and a value
// that does not fit its column is kept whole, as its own JSON text, in the
// column [Rescued] of its row.
//
// # Decoding
//
// A [Decoder] reads every record in one pass, guided by the schema, straight into
// columns: there are no tokens, no maps, and no garbage per record. What the
// schema does not know is skipped, kept as text, and looked at for its type, so
// that [Decoded].Want can ask for a column. The same units are then decoded once
// more with the schema that the table has by then:
//
//	o := d.Decode(units, s, nil)
//	if o.Want != nil {
//		next, changed, _ := schema.Merge(s, o.Want) // commit it: the table numbers new fields
//		if changed {
//			o.Data.Release()
//			o = d.Decode(units, next, nil)
//		}
//	}
//
// Which units are rows at all is decided by the scanner alone. The guided pass only
// has to notice that something is wrong; the scanner, which takes longer and knows
// no schema, then says what. So a reject cannot depend on a table. The tests hold
// the two against each other, and both against encoding/json.
package schema
