package daemon

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
)

// exampleBrokers matches the brokers of an example, which is run with others.
var exampleBrokers = regexp.MustCompile(`brokers: \[[^\]]*\]`)

// TestExamplesRun: the examples that need a broker and a folder, and nothing else, bring
// a record into its table, and verify proves it.
func TestExamplesRun(t *testing.T) {
	f := func(name, topic, table, values string, more ...string) {
		t.Run(name, func(t *testing.T) {
			c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, append(more, topic)...))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			text, err := os.ReadFile("../../examples/" + name + "/firehosed.yaml")
			if err != nil {
				t.Fatal(err)
			}
			lake := filepath.Join(t.TempDir(), "lake")
			config := exampleBrokers.ReplaceAllString(string(text), `brokers: ["`+c.ListenAddrs()[0]+`"]`)
			config = strings.NewReplacer("warehouse: ./lake", "warehouse: "+lake, "bucket: ./lake", "bucket: "+lake, "bucket: ./files", "bucket: "+lake+"/files", "bucket: ./backup", "bucket: "+lake+"/backup", "start: latest", "start: earliest").Replace(config)
			file := write(t, "admin: {listen: 127.0.0.1:0}\n"+config)
			cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()[0]), kgo.DefaultProduceTopic(topic))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cl.Close)
			for _, v := range strings.Split(values, "\n") {
				if err := cl.ProduceSync(t.Context(), kgo.StringRecord(v)).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
			l := start(t, file)
			l.committed(table, 2)
			var names []string
			for _, p := range l.status().Pipelines {
				names = append(names, p.Pipeline)
			}
			if code := l.end(); code != ExitOK {
				t.Errorf("exit code %d", code)
			}
			for _, p := range names {
				if code, out, errs := firehosed(t, nil, "verify", "-c", file, "-p", p); code != ExitOK {
					t.Errorf("verify %s: %d %s%s", p, code, out, errs)
				}
			}
		})
	}
	const order = `{"customer_id":7,"amount":"1.50","placed_at":"2026-01-31T12:00:00Z","items":[{"sku":"a","quantity":2}]}`
	f("quickstart", "orders", "quickstart.orders", order+"\n"+order)
	f("json", "logs", "logs.logs", `{"a":1}`+"\n"+`{"a":2}`)
	f("tables", "orders", "shop.orders", order+"\n"+order)
	f("format-v3", "orders", "shop.orders", order+"\n"+order, "clicks")
	f("existing-table", "orders", "sales.orders", order+"\n"+order)
	f("any-topic", "web.orders", "events.web_orders", order+"\n"+order)
	f("routing", "events", "shop.event_login", `{"event":{"type":"login"}}`+"\n"+`{"event":{"type":"login"}}`, "orders")
	f("s3", "events", "clicks.events", `{"customer_id":7}`+"\n"+`{"customer_id":8}`)
	f("s3-parquet", "orders", "orders", order+"\n"+order)
	f("several-sinks", "orders", "lines:by.paid", `{"kind":"paid"}`+"\n"+`{"kind":"paid"}`)
	f("many-pipelines", "orders", "shop.orders", order+"\n"+order, "clicks", "invoices")
}
