package iceberg

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/apache/iceberg-go/catalog/rest"

	"github.com/firehosed/firehosed/iceberg/icebergtest"
)

// guarded returns a rig over a REST catalog as the large ones are, with a warehouse
// that has a name and places the tables, and whatever login it then requires.
func guarded(t *testing.T, login RESTConfig) (*rig, *icebergtest.REST) {
	t.Helper()
	r := newRig(t)
	srv := icebergtest.NewWarehouse(r.dir, "lake", "w/8f2e")
	t.Cleanup(srv.Close)
	login.URI, login.Warehouse = srv.URL, "lake"
	r.srv, r.cat = srv, CatalogConfig{REST: &login}
	return r, srv
}

func placedByCatalog(c *Config) { c.Warehouse, c.Control = "", "/nowhere" }

// serves commits and reads back, as a worker whose login holds.
func (r *rig) serves() {
	r.Helper()
	w := r.worker(placedByCatalog)
	r.must(r.commit(w, -1, 100))
	r.must(r.commit(w, 100, 250))
	r.want(250, 250)
	if loc := r.meta().Location(); !strings.HasPrefix(loc, "file://"+r.dir+"/") {
		r.Errorf("the table is in %s, not where the catalog places it", loc)
	}
}

// refused checks that the catalog is closed to a login, and that the error says what
// to do.
func (r *rig) refused(login RESTConfig, want ...string) {
	r.Helper()
	login.URI, login.Warehouse = r.cat.REST.URI, "lake"
	err := r.unbound(func(c *Config) { c.Catalog = CatalogConfig{REST: &login} }).sink.CheckCatalog(r.Context())
	for _, w := range append(want, r.cat.REST.URI) {
		if err == nil || !strings.Contains(err.Error(), w) {
			r.Errorf("want %q, got %v", w, err)
		}
	}
}

func TestBearerToken(t *testing.T) {
	r, srv := guarded(t, RESTConfig{Token: "let me in"})
	srv.RequireToken("let me in")
	r.serves()
	r.refused(RESTConfig{Token: "let me out"}, "the catalog refuses the login: check credential or token")
	r.refused(RESTConfig{}, "the catalog wants a login: set credential, token or sigv4")
	r.refused(RESTConfig{Credential: "id:secret"}, "no token is to be had: check credential, oauth2_server_uri and scope", "invalid_client")
}

func TestClientCredentials(t *testing.T) {
	client := icebergtest.Client{ID: "firehosed", Secret: "s:e/c+ret", Scope: "PRINCIPAL_ROLE:ALL", Lives: time.Hour}
	login := RESTConfig{Credential: "firehosed:s:e/c+ret", Scope: client.Scope}
	r, srv := guarded(t, login)
	srv.RequireClient(client)
	login.OAuthServer = srv.URL + "/v1/oauth/tokens"
	r.cat.REST.OAuthServer = login.OAuthServer
	r.serves()
	if n := srv.Refused(); n != 0 {
		t.Errorf("%d requests were refused", n)
	}
	login.Credential = "firehosed:wrong"
	r.refused(login, "no token is to be had", "invalid_client")
	login = RESTConfig{Credential: "firehosed:s:e/c+ret"} // the default scope
	r.refused(login, "no token is to be had", "invalid_scope")
}

// TestTokensAreRenewed: a token that lives a few seconds is asked for anew before it
// ends, and nobody sees a refusal.
func TestTokensAreRenewed(t *testing.T) {
	r, srv := guarded(t, RESTConfig{Credential: "firehosed:secret"})
	srv.RequireClient(icebergtest.Client{ID: "firehosed", Secret: "secret", Scope: "catalog", Lives: 5 * time.Second})
	w := r.worker(placedByCatalog)
	before := srv.Tokens()
	for i := range 5 {
		r.must(r.commit(w, i*10-max(0, 1-i), i*10+10))
	}
	if n := srv.Tokens() - before; n < 5 {
		t.Errorf("%d tokens for 5 commits, though each was about to end", n)
	}
	if n := srv.Refused(); n != 0 {
		t.Errorf("%d requests were refused", n)
	}
}

// TestTokensThatAreRevoked: a session whose token the catalog no longer takes, though
// its time is not over, is opened anew: by the commit loop itself, and else by the
// next call.
func TestTokensThatAreRevoked(t *testing.T) {
	r, srv := guarded(t, RESTConfig{Credential: "firehosed:secret"})
	client := icebergtest.Client{ID: "firehosed", Secret: "secret", Scope: "catalog", Lives: time.Hour}
	srv.RequireClient(client)
	w := r.worker(placedByCatalog)
	srv.Revoke()
	r.must(r.commit(w, -1, 100))
	srv.Revoke()
	if _, err := w.Watermarks(t.Context(), nil); !errors.Is(err, rest.ErrAuthorizationExpired) {
		t.Errorf("the catalog refuses the token: %v", err)
	}
	if _, err := w.Watermarks(t.Context(), nil); err != nil {
		t.Error(err)
	}
	srv.RequireClient(icebergtest.Client{ID: "another", Secret: "secret", Scope: "catalog", Lives: time.Hour})
	srv.Revoke()
	ctx, cancel := context.WithCancel(t.Context())
	w.sink.pause = func(ctx context.Context, attempt int) error {
		if attempt == 5 {
			cancel()
		}
		return ctx.Err()
	}
	if err := r.commitAs(ctx, w, r.st, 100, 200); !errors.Is(err, rest.ErrOAuthError) || !errors.Is(err, context.Canceled) {
		t.Errorf("a client that is no longer known: %v", err)
	}
	srv.RequireClient(client)
	r.want(100, 100)
}

func TestSignedRequests(t *testing.T) {
	for _, service := range signedServices {
		signedBy(t, awsKeys)
		r, srv := guarded(t, RESTConfig{SigV4: &SigV4Config{Region: "eu-central-1", Service: service}})
		keys := awsKeys
		keys.Region, keys.Service = "eu-central-1", service
		srv.RequireSigned(keys)
		r.serves()
		if n := srv.Refused(); n != 0 {
			t.Errorf("%s: %d requests were refused", service, n)
		}
		// A namespace of two levels has a separator in its path that is escaped twice.
		_, err := r.unbound(placedByCatalog).sink.Table(t.Context(), "shop.eu.t", r.st)
		r.must(err)
		r.refused(RESTConfig{SigV4: &SigV4Config{Region: "us-east-1", Service: service}}, "the catalog refuses the AWS credentials: check sigv4.region", "scoped to us-east-1/"+service)
		r.refused(RESTConfig{}, "the catalog wants a login", "not signed")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "another")
		r.refused(*r.cat.REST, "the catalog refuses the AWS credentials", "the signature does not match")
	}
}
