package iceberg

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/firehosed/firehosed/iceberg/icebergtest"
	"github.com/firehosed/firehosed/internal/awscfg"
	"github.com/firehosed/firehosed/internal/objstore"
	"github.com/firehosed/firehosed/internal/objstore/objstoretest"
)

// strict is an object store that takes the newest two of the keys that a catalog has
// handed out, and one that is the catalog's own.
type strict struct {
	http.Handler
	url    string
	vended func() map[string]string // nil: vend

	mu    sync.Mutex
	given int
	used  map[string]int // requests, by key
}

var credential = regexp.MustCompile(`Credential=([^/]+)/`)

func (s *strict) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	key := ""
	if m := credential.FindStringSubmatch(r.Header.Get("Authorization")); m != nil {
		key = m[1]
	}
	token := r.Header.Get("X-Amz-Security-Token")
	s.mu.Lock()
	s.used[key]++
	ok := key == "CATALOG" || token == "token of "+key && (key == s.key(s.given) || key == s.key(s.given-1))
	s.mu.Unlock()
	if !ok {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprintf(w, `<Error><Code>AccessDenied</Code><Message>not for %q</Message></Error>`, key)
		return
	}
	s.Handler.ServeHTTP(w, r)
}

func (*strict) key(n int) string { return "VENDED" + strconv.Itoa(n) }

// vend hands out the next key.
func (s *strict) vend() map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.given++
	return map[string]string{
		vendedKey: s.key(s.given), vendedSecret: "x", vendedToken: "token of " + s.key(s.given),
		vendedEnds: strconv.FormatInt(time.Now().Add(time.Hour).UnixMilli(), 10), clientRegion: "eu-central-1",
	}
}

// overStrict returns a rig whose catalog places tables in a strict store and hands
// out the credentials for it.
func overStrict(t *testing.T) (*rig, *strict) {
	t.Helper()
	signedBy(t, icebergtest.Signed{AccessKeyID: "OURS", SecretAccessKey: "x"})
	fake := objstoretest.NewS3(t)
	store := &strict{Handler: fake, used: map[string]int{}}
	front := httptest.NewServer(store)
	t.Cleanup(front.Close)
	store.url = front.URL
	own := objstore.Config{PathStyle: true, AWS: awscfg.Config{Endpoint: front.URL, AccessKeyID: "CATALOG", SecretAccessKey: "x"}}
	root := "s3://" + fake.Bucket
	bucket, err := objstore.Open(t.Context(), root, own)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.srv.(*icebergtest.REST).Store(root+"/tables", func(location string, data []byte) error {
		_, err := bucket.Put(t.Context(), strings.TrimPrefix(location, root+"/"), data, objstore.Always)
		return err
	}, func() map[string]string {
		if store.vended != nil {
			return store.vended()
		}
		props := store.vend()
		props[vendedURL], props[vendedByPaths] = front.URL, "true"
		return props
	})
	return r, store
}

// TestVendedCredentials: a table in a store that only the catalog's credentials open
// takes rows, is maintained and read back, while each load brings other keys and the
// older end.
func TestVendedCredentials(t *testing.T) {
	r, store := overStrict(t)
	w := r.worker(placedByCatalog)
	s := w.sink
	s.mergeFrom = 15
	tab, err := s.Table(t.Context(), "ns.t", r.st)
	r.must(err)
	for i := range 16 {
		r.must(deliver(t, tab, p0, i*10-max(0, 1-i), i*10+10, nil))
	}
	done, err := s.Maintain(t.Context(), "ns.t")
	r.must(err)
	if done.Manifests == 0 {
		t.Errorf("%+v", done)
	}
	if got := coordinates(t, s, "ns.t"); !slices.Equal(got, upTo(160)) {
		t.Errorf("%d rows", len(got))
	}
	store.mu.Lock()
	defer store.mu.Unlock()
	if len(store.used) < 16 || store.used["OURS"] != 0 {
		t.Errorf("requests by key: %v", store.used)
	}
}

// TestOwnCredentialsComeFirst: keys in the configuration are used; and where the
// catalog hands out no key, nothing else that it says about the store is.
func TestOwnCredentialsComeFirst(t *testing.T) {
	f := func(key string, change func(*Config, map[string]string)) {
		t.Helper()
		r, store := overStrict(t)
		cfg := r.config()
		props := store.vend()
		change(&cfg, props)
		store.vended = func() map[string]string { return props }
		h := r.unbound(placedByCatalog, func(c *Config) { c.S3 = cfg.S3; c.S3.PathStyle, c.S3.AWS.Endpoint = true, store.url })
		_, err := h.sink.Table(t.Context(), "ns.t", r.st)
		if err == nil || !strings.Contains(err.Error(), "access denied") || store.used[key] == 0 || len(store.used) != 2 {
			t.Errorf("%v, requests by key: %v, want some of %s", err, store.used, key)
		}
	}
	f("MINE", func(c *Config, _ map[string]string) { c.S3.AWS.AccessKeyID, c.S3.AWS.SecretAccessKey = "MINE", "x" })
	f("OURS", func(_ *Config, props map[string]string) {
		clear(props)
		props[vendedURL] = "http://127.0.0.1:1"
	})
}

// TestGrant: credentials are renewed before they end, by one; while that fails they
// are used to their end and not beyond.
func TestGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, fails := 0, error(nil)
		props := func(life time.Duration) map[string]string {
			n++
			return map[string]string{
				vendedKey: strconv.Itoa(n), vendedSecret: "x", vendedEnds: strconv.FormatInt(time.Now().Add(life).UnixMilli(), 10),
			}
		}
		s := newStorage(objstore.Config{})
		var renew func(context.Context) error
		renew = func(context.Context) error {
			if fails == nil {
				s.grant("s3://b/t", props(time.Hour), renew)
			}
			return fails
		}
		s.grant("s3://b/t", props(time.Hour), renew)
		g := s.granted("s3://b/t/data/x")
		if g == nil || s.granted("s3://b/tt/x") != nil || s.granted("s3://b/_firehosed/log/1") != nil {
			t.Fatal("the grant is for the table alone")
		}
		want := func(key string) {
			t.Helper()
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() {
					c, err := g.Retrieve(t.Context())
					if c.AccessKeyID != key || (err == nil) != (key != "") {
						t.Errorf("key %q, %v; want %q", c.AccessKeyID, err, key)
					}
				})
			}
			wg.Wait()
		}
		want("1")
		time.Sleep(54 * time.Minute)
		want("1")
		time.Sleep(2 * time.Minute)
		want("2")
		fails = errors.New("no catalog")
		time.Sleep(58 * time.Minute)
		want("2")
		time.Sleep(3 * time.Minute)
		want("")
		fails = nil
		want("3")
		g.set(map[string]string{vendedKey: "endless", vendedSecret: "x"})
		want("endless")
		time.Sleep(vendedLife - time.Second)
		want("4")
	})
}
