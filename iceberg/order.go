package iceberg

import (
	"slices"

	icego "github.com/apache/iceberg-go"
	icetable "github.com/apache/iceberg-go/table"
)

// sortColumn is one field of a sort order, ready to be compared.
type sortColumn struct {
	field icetable.SortField
	typ   icego.Type
	apply func(any) any // of a value that is not null; nil: the value itself
}

// wanted returns the sort order that sort_by asks for, with the columns that sc has,
// and the columns that it lacks or that have no order.
func (c TableConfig) wanted(sc *icego.Schema) (fields []icetable.SortField, missing []string) {
	for _, text := range c.SortBy {
		name, desc, err := parseSort(text)
		if err != nil {
			continue // refused by Validate
		}
		f, ok := sc.FindFieldByName(name)
		if ok {
			_, ok = f.Type.(icego.PrimitiveType)
		}
		if !ok {
			missing = append(missing, name)
			continue
		}
		s := icetable.SortField{SourceIDs: []int{f.ID}, Transform: icego.IdentityTransform{}, Direction: icetable.SortASC, NullOrder: icetable.NullsFirst}
		if desc {
			s.Direction, s.NullOrder = icetable.SortDESC, icetable.NullsLast
		}
		fields = append(fields, s)
	}
	return fields, missing
}

// newOrder returns the sort order to make the default of a table that this pipeline
// created, once the table has all columns of sort_by; nil: there is nothing to change.
func (t *table) newOrder(md icetable.Metadata, sc *icego.Schema) (*icetable.SortOrder, error) {
	fields, missing := t.cfg.wanted(sc)
	if len(fields) == 0 || len(missing) > 0 || !t.created(md) || sameFields(md.SortOrder(), fields) {
		return nil, nil
	}
	id := icetable.InitialSortOrderID
	for _, o := range md.SortOrders() {
		id = max(id, o.OrderID()+1)
		if sameFields(o, fields) { // it was the default before
			id = o.OrderID()
			break
		}
	}
	o, err := icetable.NewSortOrder(id, fields)
	return &o, err
}

func sameFields(o icetable.SortOrder, fields []icetable.SortField) bool {
	var have []icetable.SortField
	for _, f := range o.Fields() {
		have = append(have, f)
	}
	return slices.EqualFunc(have, fields, icetable.SortField.Equals)
}

// order decides how rows of a layout are sorted: by sort_by, else by the table's own
// order. id is the table's name for it, 0 if it has none: then files do not claim any.
// missing are columns of sort_by that the table does not have yet.
func (c TableConfig) order(md icetable.Metadata) (by []sortColumn, id int, missing []string) {
	sc := md.CurrentSchema()
	fields, missing := c.wanted(sc)
	if len(c.SortBy) == 0 {
		for _, f := range md.SortOrder().Fields() {
			fields = append(fields, f)
		}
	}
	for _, f := range fields {
		col, ok := newSortColumn(f, sc)
		if !ok { // an order that others made, by what we cannot compare: the fields before it are as far as it goes
			return by, 0, missing
		}
		by = append(by, col)
	}
	for _, o := range md.SortOrders() {
		if len(fields) > 0 && len(missing) == 0 && sameFields(o, fields) {
			id = o.OrderID()
		}
	}
	return by, id, missing
}

func newSortColumn(f icetable.SortField, sc *icego.Schema) (sortColumn, bool) {
	src, ok := sc.FindFieldByID(f.SourceID())
	if !ok || len(f.SourceIDs) != 1 || !slices.ContainsFunc(sc.Fields(), func(top icego.NestedField) bool { return top.ID == src.ID }) {
		return sortColumn{}, false
	}
	if _, ok := src.Type.(icego.PrimitiveType); !ok {
		return sortColumn{}, false
	}
	col := sortColumn{field: f, typ: src.Type}
	if _, same := f.Transform.(icego.IdentityTransform); !same {
		apply, err := bindTransform(f.Transform, src.Type)
		if err != nil {
			return sortColumn{}, false
		}
		col.apply = apply
	}
	return col, true
}
