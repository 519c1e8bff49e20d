package main

import (
	"fmt"
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

// report prints what every engine took, and how the first stands to it in the same turn.
func report(w io.Writer, in *input, names []string, got map[string][][]measured) {
	turns := len(got[names[0]])
	fmt.Fprintf(w, "set %s: %d rows, %.1f MB of JSON, %d turns; MB of JSON per CPU second: median (least-greatest)\n", in.name, in.rows, float64(in.bytes)/1e6, turns)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(tw, "engine\tfresh\tsteady\tof it system\tMB of Parquet\tpeak MB\t%s to it, fresh\tsteady\n", names[0])
	for _, name := range names {
		var fresh, steady, system, ratioFresh, ratioSteady []float64
		peak := int64(0)
		for turn, rounds := range got[name] {
			first, last := &rounds[0], &rounds[len(rounds)-1]
			ours := got[names[0]][turn]
			fresh = append(fresh, float64(in.bytes)/1e6/first.cpu())
			steady = append(steady, float64(in.bytes)/1e6/last.cpu())
			system = append(system, last.System/last.cpu())
			ratioFresh = append(ratioFresh, first.cpu()/ours[0].cpu())
			ratioSteady = append(ratioSteady, last.cpu()/ours[len(ours)-1].cpu())
			peak = max(peak, last.Peak)
		}
		fmt.Fprintf(tw, "%s\t%v\t%v\t%.0f%%\t%.2f\t%d\t%v\t%v\n", name, spreadOf(fresh), spreadOf(steady), 100*spreadOf(system).median,
			float64(got[name][0][0].Size)/1e6, peak>>20, spreadOf(ratioFresh), spreadOf(ratioSteady))
	}
	_ = tw.Flush()
	fmt.Fprintln(w)
}
