package main

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"slices"
	"text/tabwriter"
)

// spread is the least, the median and the greatest of some figures.
type spread struct{ least, median, most float64 }

func spreadOf(v []float64) spread {
	v = slices.Sorted(slices.Values(v))
	return spread{v[0], v[len(v)/2], v[len(v)-1]}
}

func (s spread) String() string { return fmt.Sprintf("%.3g (%.3g-%.3g)", s.median, s.least, s.most) }

// each returns a figure of every turn.
func each(turns [][]measured, figure func(rounds []measured) float64) spread {
	var v []float64
	for _, rounds := range turns {
		v = append(v, figure(rounds))
	}
	return spreadOf(v)
}

// report prints what every engine took, and how the first stands to it in the same turn.
func report(w io.Writer, in *input, names []string, got map[string][][]measured) {
	first := got[names[0]]
	fmt.Fprintf(w, "set %s: %d rows, %.1f MB of JSON, %d turns: median (least-greatest)\n", in.name, in.rows, float64(in.bytes)/1e6, len(first))
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "engine\tMB of JSON/CPU s, fresh\tsteady\tuser s\tsystem s\tkrows/CPU s\tallocations/row\tMB of Parquet\tpeak MB\t%s to it, fresh\tsteady\n", names[0])
	for _, name := range names {
		turns := got[name]
		last := func(f func(m *measured) float64) spread {
			return each(turns, func(rounds []measured) float64 { return f(&rounds[len(rounds)-1]) })
		}
		allocations := "-"
		if turns[0][0].Allocations > 0 {
			allocations = fmt.Sprintf("%.2g", last(func(m *measured) float64 { return float64(m.Allocations) / float64(m.Rows) }).median)
		}
		var ratioFresh, ratioSteady []float64
		for turn, rounds := range turns {
			ours := first[turn]
			ratioFresh = append(ratioFresh, rounds[0].cpu()/ours[0].cpu())
			ratioSteady = append(ratioSteady, rounds[len(rounds)-1].cpu()/ours[len(ours)-1].cpu())
		}
		fmt.Fprintf(tw, "%s\t%v\t%v\t%v\t%v\t%.0f\t%s\t%.2f\t%.0f\t%v\t%v\n", name,
			each(turns, func(rounds []measured) float64 { return rounds[0].speed(in) }),
			last(func(m *measured) float64 { return m.speed(in) }),
			last(func(m *measured) float64 { return m.User }),
			last(func(m *measured) float64 { return m.System }),
			last(func(m *measured) float64 { return float64(m.Rows) / 1e3 / m.cpu() }).median,
			allocations, float64(turns[0][0].Size)/1e6,
			last(func(m *measured) float64 { return float64(m.Peak >> 20) }).most,
			spreadOf(ratioFresh), spreadOf(ratioSteady))
	}
	_ = tw.Flush()
	fmt.Fprintln(w)
}

// speed is MB of JSON per CPU second.
func (m *measured) speed(in *input) float64 { return float64(in.bytes) / 1e6 / m.cpu() }

// chart is the steady part of every set and engine, as bars.
type chart struct{ groups []group }

type group struct {
	name  string
	names []string
	bars  []spread
}

func (c *chart) add(in *input, names []string, got map[string][][]measured) {
	g := group{name: in.name, names: names}
	for _, name := range names {
		g.bars = append(g.bars, each(got[name], func(rounds []measured) float64 { return rounds[len(rounds)-1].speed(in) }))
	}
	c.groups = append(c.groups, g)
}

// svg draws a bar for each engine of a set, to the scale of the set, with a line from its least to its greatest.
func (c *chart) svg() []byte {
	const left, width, bar, gap = 150, 640, 16, 34
	var b bytes.Buffer
	y := 10
	for _, g := range c.groups {
		y += gap
		top := 0.0
		for _, s := range g.bars {
			top = max(top, s.most)
		}
		at := func(v float64) float64 { return left + v/top*(width-left-70) }
		fmt.Fprintf(&b, `<text x="4" y="%d" font-weight="bold">Set %s, MB of JSON per CPU second</text>`+"\n", y-8, html.EscapeString(g.name))
		for i, s := range g.bars {
			fill := "#9ab"
			if i == 0 {
				fill = "#c50"
			}
			fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-6, y+bar-4, html.EscapeString(g.names[i]))
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`, left, y, at(s.median)-left, bar-2, fill)
			fmt.Fprintf(&b, `<path d="M%.1f %dH%.1f" stroke="#000"/>`, at(s.least), y+bar/2-1, at(s.most))
			fmt.Fprintf(&b, `<text x="%.1f" y="%d">%.0f</text>`+"\n", at(s.most)+5, y+bar-4, s.median)
			y += bar
		}
	}
	head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, y+12)
	return append(append([]byte(head), b.Bytes()...), "</svg>\n"...)
}
