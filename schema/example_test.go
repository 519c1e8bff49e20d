package schema_test

import (
	"fmt"

	"github.com/firehosed/firehosed/schema"
)

func ExampleDecoder() {
	units := [][]byte{
		[]byte(`{"id": 7, "user": {"name": "Ada"}, "tags": ["a", "b"]}`),
		[]byte(`{"id": "seven"} {"id": 8}`),
		[]byte(`{"id": `),
	}
	d := schema.NewDecoder(schema.Options{})
	var table *schema.Schema

	o := d.Decode(units, table, nil)
	o.Data.Release()
	table, _, _ = schema.Merge(table, o.Want)
	for _, f := range table.Fields {
		fmt.Println(f.Name, f.Type)
	}

	o = d.Decode(units, table, nil)
	defer o.Data.Release()
	for i, f := range o.Data.Schema().Fields() {
		fmt.Println(f.Name, o.Data.Column(i))
	}
	for _, r := range o.Rejects {
		fmt.Printf("unit %d, value %d: %s: %s\n", r.Unit, r.Sub, r.Code, r.Message)
	}
	// Output:
	// id long
	// user struct<name: string>
	// tags list<string>
	// _fh_rescued string
	// id [7 (null) 8]
	// user {["Ada" (null) (null)]}
	// tags [["a" "b"] (null) (null)]
	// _fh_rescued [(null) "{\"/id\":\"\\\"seven\\\"\"}" (null)]
	// unit 2, value 0: syntax: the text ends where a value is due
}
