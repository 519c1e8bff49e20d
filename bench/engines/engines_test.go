package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestMain lets the binary of the tests be an engine, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childArg {
		if err := child(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestTurns gives every engine in Go a turn on each set.
func TestTurns(t *testing.T) {
	for _, set := range []string{"A", "B", "C", "D"} {
		w := world{o: options{mb: 1, rounds: 2, seed: 1}, dir: t.TempDir()}
		in, err := w.input(t.Context(), set)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string][][]measured{}
		names := []string{"firehosed", "decoder+pqarrow", "arrow-go"}
		for _, name := range names {
			rounds, err := w.turn(t.Context(), in, name)
			if err != nil {
				t.Fatalf("set %s, %s: %v", set, name, err)
			}
			if m := rounds[1]; m.Rows != in.rows || m.Size == 0 || m.cpu() <= 0 || m.Peak == 0 {
				t.Errorf("set %s, %s: %+v of %d rows", set, name, m, in.rows)
			}
			got[name] = append(got[name], rounds)
		}
		w.bars.add(in, names, got)
		if svg := string(w.bars.svg()); strings.Count(svg, "<rect") != len(names) || !strings.Contains(svg, "Set "+set) || !strings.HasSuffix(svg, "</svg>\n") {
			t.Errorf("a chart of %s", svg)
		}
		w.o.decode = true
		for _, name := range decoders() {
			rounds, err := w.turn(t.Context(), in, name)
			if err != nil || rounds[1].Rows != in.rows {
				t.Errorf("set %s, %s: %+v of %d rows, %v", set, name, rounds, in.rows, err)
			}
		}
		var table strings.Builder
		report(&table, in, names, got)
		if lines := strings.Count(table.String(), "\n"); lines != len(names)+3 {
			t.Errorf("a table of %d lines:\n%s", lines, &table)
		}
	}
}

func TestPrototypeRounds(t *testing.T) {
	const line = "proto+pqw\tzstd1 dict=true\tcpu 0.481s\t436.0 MB/cpu-s\twall 0.502s (parse 0.1)\trows 975142\tout 14.1MB\trss 65MB\t{}\n"
	got, err := prototypeRounds(line+line, false)
	if err != nil || len(got) != 2 || got[1].User != 0.481 || got[1].Peak != 65<<20 || got[1].Seconds != 0.502 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = prototypeRounds(line, true); err != nil || len(got) != 1 || got[0].User != 0.1 || got[0].Seconds != 0.1 {
		t.Errorf("of decoding: %+v, %v", got, err)
	}
}
