//go:build failpoint

package failpoint

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Enabled reports whether this is a build with the tag failpoint.
const Enabled = true

// Environment is the variable that Hit and Err obey.
const Environment = "FIREHOSED_FAILPOINT"

// Hit marks the point name and does what the environment says.
func Hit(name string) {
	if err := Err(name); err != nil {
		panic(err)
	}
}

// Err marks the point name, does what the environment says, and returns the error
// of the error action.
func Err(name string) error { return process().hit(name) }

// process returns the points of this process.
var process = sync.OnceValue(func() *set {
	s, err := parse(os.Getenv(Environment))
	if err != nil {
		fmt.Fprintln(os.Stderr, Environment+":", err)
		os.Exit(2)
	}
	return s
})

// poll is how often a blocked point looks for its file.
const poll = 20 * time.Millisecond

// Points returns the names of all points. A new one is added here and in the
// package comment.
func Points() []string {
	return strings.Fields(`
		src.poll.afterFetch src.assign.beforeSeek src.assign.afterSeek src.revoke.before src.revoke.after
		route.afterRoute buf.beforeCut buf.afterCut
		schema.beforeEvolve schema.afterEvolveSent schema.afterEvolve
		file.beforeCreate file.midRowGroup file.beforeClose file.afterClose file.afterUpload file.afterVerify
		commit.beforeLoad commit.afterLoad commit.afterCheck commit.afterManifest commit.afterManifestList
		commit.beforeSend commit.sent commit.afterApplyBeforeReply commit.afterReply
		commit.beforeResolve commit.afterResolve commit.beforeLocalAdvance commit.afterLocalAdvance
		group.beforeCommit group.afterCommit table2.beforeCommit
		combine.beforeSubmit combine.afterGather combine.afterCommitBeforeAnswer
		wal.beforeAppend wal.afterAppendBeforeFsync wal.afterFsyncBeforeAck wal.afterAck wal.beforeRoll wal.beforeSegmentDelete
		gc.beforeList gc.beforeDelete shutdown.drainStart shutdown.afterDrain config.beforeBarrier config.afterBarrier`)
}

// set is what happens where.
type set struct {
	exit func(int) // os.Exit

	sync.Mutex
	hits    map[string]int
	actions map[string][]action
}

// action is one entry.
type action struct {
	verb string
	at   int // the hit it belongs to, from 1; 0: every one
	wait time.Duration
	code int
	path string
}

func (s *set) hit(name string) error {
	s.Lock()
	s.hits[name]++
	n := s.hits[name]
	var due []action
	for _, a := range s.actions[name] {
		if a.at == n || a.at == 0 {
			due = append(due, a)
		}
	}
	s.Unlock()
	var err error
	for _, a := range due {
		err = errors.Join(err, s.do(a, name, n))
	}
	return err
}

func (s *set) do(a action, name string, n int) error {
	fmt.Fprintf(os.Stderr, "failpoint %s, hit %d: %s\n", name, n, a.verb)
	switch a.verb {
	case "exit":
		s.exit(a.code)
	case "panic":
		panic("failpoint " + name)
	case "error":
		return fmt.Errorf("failpoint %s: %w", name, ErrInjected)
	case "sleep":
		time.Sleep(a.wait)
	case "block":
		for {
			if a.path != "" {
				if _, err := os.Stat(a.path); err == nil {
					return nil
				}
			}
			time.Sleep(poll)
		}
	}
	return nil
}

// parse reads the entries of the environment variable.
func parse(env string) (*set, error) {
	s := &set{exit: os.Exit, hits: map[string]int{}, actions: map[string][]action{}}
	for entry := range strings.SplitSeq(env, ";") {
		if entry = strings.TrimSpace(entry); entry == "" {
			continue
		}
		name, what, ok := strings.Cut(entry, "=")
		if !ok {
			return nil, fmt.Errorf("entry %q: want name=action@n", entry)
		}
		if !slices.Contains(Points(), name) {
			return nil, fmt.Errorf("entry %q: there is no point %q", entry, name)
		}
		a, err := parseAction(what)
		if err != nil {
			return nil, fmt.Errorf("entry %q: %w", entry, err)
		}
		s.actions[name] = append(s.actions[name], a)
	}
	return s, nil
}

func parseAction(what string) (a action, err error) {
	a.at = 1
	if i := strings.LastIndexByte(what, '@'); i > strings.LastIndexByte(what, ')') {
		n := what[i+1:]
		if what = what[:i]; n == "*" {
			a.at = 0
		} else if a.at, err = strconv.Atoi(n); err != nil || a.at < 1 {
			return a, fmt.Errorf("@%s: want a number from 1, or *", n)
		}
	}
	verb, arg, hasArg := strings.Cut(what, "(")
	if hasArg && !strings.HasSuffix(arg, ")") {
		return a, errors.New("the closing parenthesis is missing")
	}
	arg = strings.TrimSuffix(arg, ")")
	switch a.verb = verb; verb {
	case "exit":
		if a.code = 137; hasArg {
			a.code, err = strconv.Atoi(arg)
		}
	case "sleep":
		a.wait, err = time.ParseDuration(arg)
	case "block":
		a.path = arg
	case "panic", "error":
		if hasArg {
			err = fmt.Errorf("%s takes no argument", verb)
		}
	default:
		err = fmt.Errorf("there is no action %q", verb)
	}
	return a, err
}
