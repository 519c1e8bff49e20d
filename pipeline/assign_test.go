package pipeline

import (
	"context"
	"errors"
	"testing"
)

// mute is a source that cannot say where the group is.
type mute struct{ Source }

var errMute = errors.New("no answer")

func (mute) Hint(context.Context, Partition) (Hint, error) { return Hint{}, errMute }

type plainLane struct {
	Lane
	part Partition
}

func (l plainLane) Partition() Partition { return l.part }

// TestAssignedInVain: what could not be taken over is not the pipeline's. The group may
// give it to somebody else before the source tries again, and then nobody says so.
func TestAssignedInVain(t *testing.T) {
	p := New(Config{Name: "web"}, mute{}, emptySink{}, NewControl(newMemStore(), "web", "w"), NewBudget(1<<20).Share(), nil, nil)
	l := plainLane{part: Partition{Kind: "kafka", Stream: "clicks", ID: "0"}}
	if err := p.Assigned(t.Context(), []Lane{l}); !errors.Is(err, errMute) {
		t.Fatal(err)
	}
	if n := len(p.waiting()); n != 0 {
		t.Errorf("%d partitions are still to be taken over, although nobody has given them since", n)
	}
}
