package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/bosman-cd/bosman"
)

// AppendEvent adds an event; those who wait for events wake once it holds.
func (s *Store) AppendEvent(ctx context.Context, e bosman.Event) error {
	if _, err := s.db.NewInsert().Model(&eventRow{Event: e}).ExcludeColumn("id").Exec(ctx); err != nil {
		return err
	}
	if s.tx {
		*s.news = true
	} else {
		s.wake.notify()
	}
	return nil
}

// EventsAfter gives up to max events with a higher id, in order.
func (s *Store) EventsAfter(ctx context.Context, id int64, max int) ([]bosman.Event, error) {
	return many[eventRow, bosman.Event](ctx, s.db, cond("id > ?", id), order("id"), limit(max))
}

// LastEvent gives the id of the newest event, 0 without any.
func (s *Store) LastEvent(ctx context.Context) (int64, error) {
	var id int64
	err := s.db.NewRaw("SELECT coalesce(max(id), 0) FROM events").Scan(ctx, &id)
	return id, err
}

// Wake gives a channel that is closed when the next event holds. Take it
// before reading, then read, then wait.
func (s *Store) Wake() <-chan struct{} { return s.wake.wait() }

// Follow hands the events after one to each, in order, and waits for more
// until ctx ends, which is no error, or each fails.
func (s *Store) Follow(ctx context.Context, after int64, each func(context.Context, bosman.Event) error) error {
	for {
		wake := s.Wake()
		events, err := s.EventsAfter(ctx, after, 100)
		for _, e := range events {
			if err = each(ctx, e); err != nil {
				break
			}
			after = e.ID
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if len(events) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wake:
		}
	}
}

// FollowAs is Follow for a reader with a name, from where it last was: each
// event at least once, also across restarts.
func (s *Store) FollowAs(ctx context.Context, reader string, each func(context.Context, bosman.Event) error) error {
	after, err := s.Cursor(ctx, reader)
	if err != nil {
		return err
	}
	return s.Follow(ctx, after, func(ctx context.Context, e bosman.Event) error {
		if err := each(ctx, e); err != nil {
			return err
		}
		return s.SetCursor(ctx, reader, e.ID)
	})
}

// Cursor gives the last event that a reader handled.
func (s *Store) Cursor(ctx context.Context, name string) (int64, error) {
	var id int64
	err := s.db.NewRaw("SELECT event FROM cursors WHERE name = ?", name).Scan(ctx, &id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return id, err
}

// SetCursor moves a reader on.
func (s *Store) SetCursor(ctx context.Context, name string, event int64) error {
	_, err := s.db.NewRaw("INSERT INTO cursors (name, event) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET event = excluded.event", name, event).Exec(ctx)
	return err
}

// PutDelivery keeps a forge's message; false when its id was kept before.
func (s *Store) PutDelivery(ctx context.Context, d Delivery) (bool, error) {
	res, err := s.db.NewInsert().Model(&deliveryRow{Delivery: d}).On("CONFLICT DO NOTHING").Exec(ctx)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n == 1, err
}

// OpenDeliveries gives the messages that were not handled yet, oldest first.
func (s *Store) OpenDeliveries(ctx context.Context) ([]Delivery, error) {
	return many[deliveryRow, Delivery](ctx, s.db, cond("handled_at < '0002-01-01'"), order("at, id"))
}

// DeliveryHandled marks a message as handled.
func (s *Store) DeliveryHandled(ctx context.Context, id string, at time.Time) error {
	res, err := s.db.NewRaw("UPDATE inbox SET handled_at = ? WHERE id = ?", at.UTC(), id).Exec(ctx)
	return changed(res, err, bosman.NotFound("there is no delivery %s", id))
}

// Owe adds something to be told to the outside world; it takes the place of
// an older one of the same kind and key.
func (s *Store) Owe(ctx context.Context, o Owed) error {
	_, err := s.db.NewRaw(`INSERT INTO outbox (kind, coalesce_key, data, at, next_at, tries, error) VALUES (?, ?, ?, ?, ?, 0, '')
		ON CONFLICT (kind, coalesce_key) DO UPDATE SET data = excluded.data, at = max(excluded.at, outbox.at), next_at = excluded.next_at, tries = 0, error = ''`,
		o.Kind, o.CoalesceKey, o.Data, o.At.UTC(), o.NextAt.UTC()).Exec(ctx)
	return err
}

// Due gives what is owed of a kind and due at now, oldest first.
func (s *Store) Due(ctx context.Context, kind string, now time.Time, max int) ([]Owed, error) {
	return many[owedRow, Owed](ctx, s.db, cond("kind = ? AND next_at <= ?", kind, now.UTC()), order("id"), limit(max))
}

// NextDue gives when the next of a kind is due after now; zero if none is.
func (s *Store) NextDue(ctx context.Context, kind string, now time.Time) (time.Time, error) {
	all, err := many[owedRow, Owed](ctx, s.db, cond("kind = ? AND next_at > ?", kind, now.UTC()), order("next_at"), limit(1))
	if err != nil || len(all) == 0 {
		return time.Time{}, err
	}
	return all[0].NextAt, nil
}

// Paid removes what was told, unless it was replaced meanwhile: kind, key and
// moment must be the same.
func (s *Store) Paid(ctx context.Context, o Owed) error {
	_, err := s.db.NewRaw("DELETE FROM outbox WHERE kind = ? AND coalesce_key = ? AND at = ?", o.Kind, o.CoalesceKey, o.At.UTC()).Exec(ctx)
	return err
}

// Postpone notes a failed attempt, the number of o.Tries, and when to try
// again.
func (s *Store) Postpone(ctx context.Context, o Owed, next time.Time, reason string) error {
	_, err := s.db.NewRaw("UPDATE outbox SET tries = ?, next_at = ?, error = ? WHERE kind = ? AND coalesce_key = ? AND at = ?", o.Tries, next.UTC(), reason, o.Kind, o.CoalesceKey, o.At.UTC()).Exec(ctx)
	return err
}
