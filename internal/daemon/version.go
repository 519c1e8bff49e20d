package daemon

import (
	"cmp"
	"context"
	"io"
	"runtime"
	"runtime/debug"
)

// Version returns the version of the binary: the module's, or the commit that it
// was built from.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	revision, dirty := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	return cmp.Or(revision+dirty, "devel")
}

func versionCommand(_ context.Context, c *call) error {
	v := struct {
		Version string `json:"version"`
		Go      string `json:"go"`
		OS      string `json:"os"`
		Arch    string `json:"arch"`
		Rules   int    `json:"rules"` // see rulesVersion
	}{Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, rulesVersion}
	return c.result(v, func(w io.Writer) {
		say(w, "firehosed %s %s %s/%s, rules version %d\n", v.Version, v.Go, v.OS, v.Arch, v.Rules)
	})
}
