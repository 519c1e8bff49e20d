package daemon

import (
	"context"
	"sync"
	"time"

	"github.com/firehosed/firehosed/internal/telemetry"
	"github.com/firehosed/firehosed/pipeline"
)

const (
	lagEvery   = 5 * time.Second       // how often the ends of partitions are asked for, at most
	lagEach    = 50 * time.Millisecond // and the time that passes for each of them
	lagAtATime = 4                     // partitions asked for at once
)

// lagWatch keeps how far the partitions that this worker reads are behind. The
// ends are asked for apart, so that reading the lag never waits. Safe for
// concurrent use.
type lagWatch struct {
	u      *unit
	status func() pipeline.Status

	mu struct {
		sync.Mutex
		ends map[string]pipeline.Position // by source key; nil: never asked
	}
}

// run asks again and again until ctx ends. A source that is told how far it is
// behind is not asked.
func (l *lagWatch) run(ctx context.Context) {
	if l.u.src.behind != nil {
		return
	}
	for {
		n := l.ask(ctx)
		t := time.NewTimer(max(lagEvery, time.Duration(n)*lagEach))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// ask reads the ends of all partitions that are being read. One that does not
// answer keeps its old end. It returns how many there are.
func (l *lagWatch) ask(ctx context.Context) int {
	mine := map[string]bool{}
	for _, lane := range l.status().Lanes {
		mine[lane.Partition] = true
	}
	if len(mine) == 0 {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, max(2*lagEvery, time.Duration(len(mine))*lagEach))
	defer cancel()
	parts, err := l.u.src.Partitions(ctx)
	if err != nil {
		return len(mine) // reading tells it, and louder
	}
	log := l.u.ctl.Known()
	var wg sync.WaitGroup
	turns := make(chan struct{}, lagAtATime)
	for _, p := range parts {
		key := log.Identity(p).Key()
		if !mine[key] {
			continue
		}
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			if end, err := l.u.src.Locate(ctx, p, endOfTime()); err == nil {
				l.mu.Lock()
				defer l.mu.Unlock()
				if l.mu.ends == nil {
					l.mu.ends = map[string]pipeline.Position{}
				}
				l.mu.ends[key] = end.At
			}
		})
	}
	wg.Wait()
	return len(mine)
}

// endOfTime is a time to come, which Locate takes for the end of a log.
func endOfTime() time.Time { return time.Now().AddDate(100, 0, 0) }

// lag returns what is not yet committed of the partitions whose end is known, or
// nil if none is.
func (l *lagWatch) lag() []telemetry.Lag {
	if l.u.src.behind != nil {
		return l.behind()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.ends == nil {
		return nil
	}
	lags := []telemetry.Lag{}
	for _, lane := range l.status().Lanes {
		end, known := l.mu.ends[lane.Partition]
		if !known {
			continue
		}
		// What was read since the end was asked for is part of the log, too.
		if n, ok := l.u.src.distance(lane.Low, max(end, lane.At)); ok {
			lags = append(lags, telemetry.Lag{Topic: lane.Name, Partition: lane.ID, Records: n})
		}
	}
	return lags
}

func (l *lagWatch) behind() []telemetry.Lag {
	var lags []telemetry.Lag
	for p, d := range l.u.src.behind() {
		lags = append(lags, telemetry.Lag{Topic: l.u.src.Name(p), Partition: p.ID, Behind: d, Timed: true})
	}
	return lags
}
