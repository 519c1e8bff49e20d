package iceberg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/apache/iceberg-go/catalog/rest"
	"github.com/jackc/pgx/v5"

	"github.com/firehosed/firehosed/internal/objstore"
)

// probeKey is below the warehouse, where no table is: probes that may not be
// removed stay there.
const probeKey = "/_firehosed/_probe/"

// CheckWarehouse reports whether the warehouse can be written to and read. It
// leaves nothing behind where it may delete. Where the catalog places the tables
// there is no place to try: the first table that is bound tells.
func (s *Sink) CheckWarehouse(ctx context.Context) error {
	if s.cfg.Warehouse == "" {
		return nil
	}
	b, key, err := s.storage.at(ctx, s.cfg.Warehouse+probeKey+newID().String())
	if err != nil {
		return err
	}
	if _, err := b.Put(ctx, key, []byte("probe"), objstore.Always); err != nil {
		return fmt.Errorf("write to %s: %w", s.cfg.Warehouse, err)
	}
	if _, _, err := b.Get(ctx, key); err != nil {
		return fmt.Errorf("read from %s: %w", s.cfg.Warehouse, err)
	}
	_ = b.Delete(ctx, key) // leave to delete is not needed
	return nil
}

// CheckCatalog reports whether the catalog can be opened and answers. The error says
// what to do if the catalog refuses the login.
func (s *Sink) CheckCatalog(ctx context.Context) error {
	cat, err := s.catalog(ctx)
	if err != nil {
		return login(s.cfg.Catalog, err)
	}
	ns := strings.Split(s.cfg.Namespace, ".")
	if _, err := cat.CheckNamespaceExists(s.withFiles(ctx), ns); err != nil {
		return login(s.cfg.Catalog, fmt.Errorf("look up namespace %s in catalog %s: %w", s.cfg.Namespace, s.cfg.CatalogAddress(), oneLine(err)))
	}
	return nil
}

// login adds what to do to an error that says that a REST catalog refuses the login.
func login(c CatalogConfig, err error) error {
	switch {
	case c.REST == nil:
		return err
	case errors.Is(err, rest.ErrOAuthError):
		return fmt.Errorf("no token is to be had: check credential, oauth2_server_uri and scope: %w", err)
	case !errors.Is(err, rest.ErrUnauthorized) && !errors.Is(err, rest.ErrForbidden) && !errors.Is(err, rest.ErrAuthorizationExpired):
		return err
	case c.REST.SigV4 != nil:
		return fmt.Errorf("the catalog refuses the AWS credentials: check sigv4.region, sigv4.service and the rights of the role: %w", err)
	case c.REST.Token == "" && c.REST.Credential == "":
		return fmt.Errorf("the catalog wants a login: set credential, token or sigv4: %w", err)
	}
	return fmt.Errorf("the catalog refuses the login: check credential or token, and its rights: %w", err)
}

// CatalogIdentity tells catalogs apart whose tables are others': by address, and where
// several are behind one, by the name that is asked for. It tells no secret.
func (c Config) CatalogIdentity() string {
	id := c.CatalogAddress()
	if rest := c.Catalog.REST; rest != nil {
		id += " " + rest.Warehouse
	}
	if glue := c.Catalog.Glue; glue != nil {
		id += " " + glue.CatalogID
	}
	return id
}

// CatalogAddress returns where the catalog is, for people: a URL, a host, a file. It
// tells no secret.
func (c Config) CatalogAddress() string {
	switch cat := c.Catalog; {
	case cat.REST != nil:
		if u, err := url.Parse(cat.REST.URI); err == nil {
			return u.Redacted()
		}
		return "rest"
	case cat.Glue != nil && cat.Glue.Endpoint != "":
		return cat.Glue.Endpoint
	case cat.Glue != nil && cat.Glue.Region != "":
		return "glue in " + cat.Glue.Region
	case cat.Glue != nil:
		return "glue"
	case cat.Postgres != nil:
		conf, err := pgx.ParseConfig(cat.Postgres.DSN)
		if err != nil {
			return "postgres"
		}
		return "postgres://" + net.JoinHostPort(conf.Host, strconv.Itoa(int(conf.Port))) + "/" + conf.Database
	}
	path, err := sqlitePath(c)
	if err != nil {
		return "sqlite"
	}
	return path
}

// singleLine is an error whose text has one line.
type singleLine struct{ error }

// oneLine returns err with the lines of its text, such as one for each address of a
// database's host, put into one.
func oneLine(err error) error {
	if err == nil || !strings.Contains(err.Error(), "\n") {
		return err
	}
	return singleLine{err}
}

func (f singleLine) Error() string {
	var b strings.Builder
	for line := range strings.Lines(f.error.Error()) {
		line = strings.TrimSpace(line)
		switch n := b.Len(); {
		case line == "":
			continue
		case n > 0 && strings.HasSuffix(b.String(), ":"):
			b.WriteString(" ")
		case n > 0:
			b.WriteString("; ")
		}
		b.WriteString(line)
	}
	return b.String()
}

func (f singleLine) Unwrap() error { return f.error }
