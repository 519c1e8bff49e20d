package iceberg

import (
	"context"
	"errors"
	"fmt"

	"github.com/firehosed/firehosed/internal/objstore"
)

// probeKey is below the warehouse, where no table is: probes that may not be
// removed stay there.
const probeKey = "/_firehosed/_probe/"

// Check reports whether the configuration works here and now: the warehouse can be
// written to and read, and the catalog answers. Errors begin with the key that they
// are about. It leaves nothing behind where it may delete.
func (s *Sink) Check(ctx context.Context) error {
	return errors.Join(s.checkWarehouse(ctx), s.checkCatalog(ctx))
}

func (s *Sink) checkWarehouse(ctx context.Context) error {
	b, key, err := s.storage.at(ctx, s.cfg.Warehouse+probeKey+newID().String())
	if err != nil {
		return fmt.Errorf("warehouse: %w", err)
	}
	if _, err := b.Put(ctx, key, []byte("probe"), objstore.Always); err != nil {
		return fmt.Errorf("warehouse: write to %s: %w", s.cfg.Warehouse, err)
	}
	if _, _, err := b.Get(ctx, key); err != nil {
		return fmt.Errorf("warehouse: read from %s: %w", s.cfg.Warehouse, err)
	}
	_ = b.Delete(ctx, key) // leave to delete is not needed
	return nil
}

func (s *Sink) checkCatalog(ctx context.Context) error {
	cat, err := s.catalog(ctx)
	if err != nil {
		return fmt.Errorf("catalog: %w", err)
	}
	if _, err := cat.CheckNamespaceExists(s.withFiles(ctx), []string{s.cfg.Namespace}); err != nil {
		return fmt.Errorf("catalog: look up namespace %s: %w", s.cfg.Namespace, err)
	}
	return nil
}
