package daemon

import (
	"errors"
	"fmt"
	"testing"

	"github.com/firehosed/firehosed/pipeline"
)

// TestCommandsAreWhole: what a message tells to run works where it is pasted.
func TestCommandsAreWhole(t *testing.T) {
	file := func(path string, names ...string) *File {
		f := &File{path: path, Pipelines: map[string]Pipeline{}}
		for _, n := range names {
			f.Pipelines[n] = Pipeline{}
		}
		return f
	}
	f := func(f *File, text, want string) {
		t.Helper()
		if got := f.commandLine("shop").complete(text); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", f.path, got, want)
		}
	}
	const resume = "firehosed table resume shop.orders --replay (rows shall come again); or run firehosed control rebuild"
	f(file("firehosed.yaml", "shop"), resume, resume)
	f(file("firehosed.yaml", "shop", "logs"), resume,
		"firehosed table resume -p shop shop.orders --replay (rows shall come again); or run firehosed control rebuild -p shop")
	f(file("/etc/f.yaml", "shop"), "firehosed offsets accept-gap kafka:c:t:1 4 7", "firehosed offsets accept-gap -c /etc/f.yaml kafka:c:t:1 4 7")
	f(file("my $1 files/it's.yaml", "shop", "logs"), "firehosed status tells more", `firehosed status -c 'my $1 files/it'\''s.yaml' -p shop tells more`)
	f(file("f.yaml", "shop"), "firehosed writes the table", "firehosed writes the table")

	line := file("f.yaml", "shop").commandLine("shop")
	halt := &pipeline.Halt{Class: "X", Remedy: "firehosed table rebind t"}
	if got := line.halt(halt); got.Remedy != "firehosed table rebind -c f.yaml t" || halt.Remedy != "firehosed table rebind t" {
		t.Errorf("%+v, was %+v", got, halt)
	}
	err := line.err(fmt.Errorf("pipeline: %w", halt))
	if got := (*pipeline.Halt)(nil); err.Error() != "pipeline: X:  (firehosed table rebind -c f.yaml t)" || !errors.As(err, &got) {
		t.Errorf("%v", err)
	}
}
