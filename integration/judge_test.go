package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// figures is what a test prints at its end, as one line of JSON.
type figures struct {
	Test           string  `json:"test"`
	Seed           uint64  `json:"seed"`
	Kills          int     `json:"kills"`
	KillsMidCommit int     `json:"kills_mid_commit"`
	Stops          int     `json:"stops"`
	Sleeps         int     `json:"sleeps"`
	ConfigChanges  int     `json:"config_changes"`
	RunSeconds     float64 `json:"run_seconds"`
	VerifySeconds  float64 `json:"verify_seconds"`
	JudgeSeconds   float64 `json:"judge_seconds"`
	verdict
}

// verdict is the last line of the checker.
type verdict struct {
	Records     int      `json:"records"`
	Rows        int      `json:"rows"`
	Tables      int      `json:"tables"`
	DeadLetters int      `json:"dead_letters"`
	Skipped     int      `json:"skipped"`
	Lost        int      `json:"lost"`
	Duplicated  int      `json:"duplicated"`
	Wrong       int      `json:"wrong"` // invented, or with other contents
	Engines     []string `json:"engines"`
}

// lap returns the seconds since the last call.
func (w *world) lap() float64 {
	d := time.Since(w.began)
	w.began = time.Now()
	return d.Round(time.Second / 10).Seconds()
}

// run runs a command of the binary and returns what it printed.
func (w *world) run(args ...string) (string, error) {
	w.t.Helper()
	path, err := build()
	if err != nil {
		w.t.Fatalf("build firehosed: %v", err)
	}
	cmd := exec.CommandContext(w.t.Context(), path, args...)
	cmd.Env = append(os.Environ(), w.place.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

// judge asks the program itself, and then the checker, and prints the figures. by says how a record finds its table: ""
// where there is one, "any", or a JSON pointer to the table's name.
func (w *world) judge(by string, tables ...string) {
	w.t.Helper()
	w.produced()
	w.lap()
	out, err := w.run("verify", "-c", w.config)
	w.sum.VerifySeconds = w.lap()
	w.t.Logf("firehosed verify:\n%s", out)
	if err != nil {
		w.t.Errorf("firehosed verify: %v", err)
	}
	cmd := exec.CommandContext(w.t.Context(), os.Getenv("FIREHOSED_PYTHON"), w.question(by, tables)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	w.sum.JudgeSeconds = w.lap()
	w.t.Logf("checker:\n%s%s", &stdout, &stderr)
	if err != nil {
		w.t.Errorf("checker: %v", err)
	}
	if err := w.sum.read(stdout.String()); err != nil {
		w.t.Errorf("checker: %v", err)
	}
	if got := w.sum.Records; got != w.total {
		w.t.Errorf("the topic holds %d records, want %d", got, w.total)
	}
	line, err := json.Marshal(w.sum)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("figures: %s", line)
}

// question returns the checker's arguments.
func (w *world) question(by string, tables []string) []string {
	args := []string{
		"checker/check.py", "--json", "--brokers", os.Getenv("FIREHOSED_KAFKA"), "--topic", w.name, "--engines", *engines,
		"--dead-letters", w.place.address(w.name + "." + w.name + "_dlq"),
	}
	switch by {
	case "":
	case "any":
		args = append(args, "--any")
	default:
		args = append(args, "--by", by)
	}
	for _, t := range tables {
		address := w.place.address(w.name + "." + t)
		if strings.HasPrefix(by, "/") {
			address = t + "=" + address
		}
		args = append(args, "--table", address)
	}
	return args
}

func (v *verdict) read(out string) error {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), v); err != nil {
		return fmt.Errorf("its last line is no verdict: %w", err)
	}
	return nil
}
