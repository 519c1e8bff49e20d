package icebergtest

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Client is what an OAuth2 client logs in with at a REST catalog, by client
// credentials.
type Client struct {
	ID, Secret, Scope string
	Lives             time.Duration // of a token, as it is told; it holds until it is revoked
}

// gate checks who asks a REST catalog. The zero value lets everybody in.
type gate struct {
	mu struct {
		sync.Mutex
		bearer  string
		client  Client
		signed  Signed
		tokens  map[string]bool // handed out: false once revoked
		refused int
	}
}

// RequireToken has requests carry this bearer token.
func (c *REST) RequireToken(token string) {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.gate.mu.bearer = token
}

// RequireClient has requests carry a token that this client asked for at
// /v1/oauth/tokens.
func (c *REST) RequireClient(client Client) {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.gate.mu.client = client
}

// RequireSigned has requests signed.
func (c *REST) RequireSigned(s Signed) {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.gate.mu.signed = s
}

// Revoke makes every token that was handed out invalid, whatever its time to live.
func (c *REST) Revoke() {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	for token := range c.gate.mu.tokens {
		c.gate.mu.tokens[token] = false
	}
}

// Tokens returns how many tokens were handed out.
func (c *REST) Tokens() int {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	return len(c.gate.mu.tokens)
}

// Refused returns how many requests were refused for want of a login.
func (c *REST) Refused() int {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	return c.gate.mu.refused
}

// statusExpired is the REST protocol's answer to a token that held once.
const statusExpired = 419

// check returns the status that a request is refused with and why; 0: it is let in.
func (g *gate) check(r *http.Request) (status int, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer func() {
		if status != 0 {
			g.mu.refused++
		}
	}()
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case g.mu.signed != (Signed{}):
		if err := g.mu.signed.verify(r); err != nil {
			return http.StatusForbidden, err.Error()
		}
	case g.mu.bearer != "":
		if subtle.ConstantTimeCompare([]byte(token), []byte(g.mu.bearer)) == 0 {
			return http.StatusUnauthorized, "the token is not known"
		}
	case g.mu.client != (Client{}):
		switch holds, known := g.mu.tokens[token]; {
		case !known:
			return http.StatusUnauthorized, "the token is not known"
		case !holds:
			return statusExpired, "the token has expired"
		}
	}
	return 0, ""
}

// token answers a request for a token, as RFC 6749 has it.
func (g *gate) token(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	bad := ""
	want := g.mu.client
	switch {
	case r.PostFormValue("grant_type") != "client_credentials":
		bad = "unsupported_grant_type"
	case want == (Client{}) || r.PostFormValue("client_id") != want.ID || r.PostFormValue("client_secret") != want.Secret:
		bad = "invalid_client"
	case r.PostFormValue("scope") != want.Scope:
		bad = "invalid_scope"
	}
	if bad != "" {
		g.mu.refused++
		answer(w, http.StatusBadRequest, plainJSON, map[string]string{"error": bad, "error_description": "the login is wrong"})
		return
	}
	if g.mu.tokens == nil {
		g.mu.tokens = map[string]bool{}
	}
	token := rand.Text()
	g.mu.tokens[token] = true
	answer(w, http.StatusOK, plainJSON, map[string]any{
		"access_token": token, "token_type": "bearer", "expires_in": int(want.Lives.Seconds()),
		"issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
	})
}
