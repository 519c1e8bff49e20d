package model

import (
	"flag"
	"strings"
	"testing"
)

var (
	full       = flag.Bool("full", false, "search every config, walk at random for longer")
	configName = flag.String("config", "", "with -run One: the config")
	mutantName = flag.String("mutant", "", "with -run One: the rule to leave out")
)

// quick lists the configs that plain go test searches to the end: most of a minute
// on one core.
var quick = map[string]bool{
	"zombie": true, "maint": true, "filtered": true, "filtered2": true, "wide": true, "rollback": true, "skip": true,
	"halted": true, "revision": true, "revision2": true, "revparts": true, "revroll": true, "revrace": true, "revexp": true,
	"admission": true, "fanoutloss": true, "flip": true, "origin": true,
	"s3small": true, "s3lost": true, "s3taken": true, "s3fence": true,
}

// skipped reports whether plain go test leaves a config out.
func skipped(name string) bool { return !*full && (!quick[name] || testing.Short() || detecting) }

func report(t *testing.T, r result) {
	t.Helper()
	t.Log(r)
	if r.bad != "" {
		t.Log("\n    " + strings.Join(r.trace, "\n    "))
	}
}

func TestProtocol(t *testing.T) {
	total := 0
	for _, c := range configs() {
		if skipped(c.name) {
			continue
		}
		r := run(c, "")
		report(t, r)
		if r.bad != "" || !r.complete {
			t.Errorf("%s: %s", c.name, r.bad)
		}
		total += r.states
	}
	t.Logf("%d states", total)
}

func TestMutantsAreKilled(t *testing.T) {
	if detecting && !*full {
		t.Log("left out: one goroutine has nothing for the race detector")
		return
	}
	for _, mu := range mutants {
		for _, c := range configs() {
			if c.name != mu.config {
				continue
			}
			r := kill(c, mu.name)
			t.Log(r)
			if r.bad == "" {
				t.Errorf("%s survived: %s", mu.name, mu.what)
			}
		}
	}
}

// The known limit of 2.3: nobody can see a rollback of which expiry left no trace.
func TestKnownLimit(t *testing.T) {
	if r := run(blind, ""); !strings.HasPrefix(r.bad, "I3") {
		t.Errorf("%v\nthe limit that the design names has gone: say so there", r)
	}
}

func TestRandomWalks(t *testing.T) {
	walks := 500
	if *full {
		walks = 300_000
	}
	for seed := range uint64(2) {
		steps, finished, bad, trace := walk(big, walks, 400, seed+1)
		t.Logf("seed %d: %d steps, %d walks finished", seed+1, steps, finished)
		if bad != "" {
			t.Errorf("seed %d: %s\n    %s", seed+1, bad, strings.Join(trace, "\n    "))
		}
	}
}

// TestOne searches the config that -config names, with the rule that -mutant names left out.
func TestOne(t *testing.T) {
	if *configName == "" {
		t.Skip("name a config with -config")
	}
	for _, c := range append(configs(), blind) {
		if c.name != *configName {
			continue
		}
		r := run(c, *mutantName)
		report(t, r)
		if *mutantName == "" && r.bad != "" {
			t.Error(r.bad)
		}
		return
	}
	t.Errorf("no config %q", *configName)
}
