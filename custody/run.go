package custody

import (
	"context"
	"path/filepath"
	"time"
)

// When backups of the state are made.
const (
	lookEvery  = 30 * time.Second
	settleTime = time.Minute      // after a start, which has other work
	atMost     = time.Hour        // between two because something changed
	nightHour  = 2                // local time: nightly, changed or not
	retryAfter = 10 * time.Minute // after a failure
)

// Due says why a backup of the state is to be made now; "" if none is. key is
// the fingerprint of the recovery key as it is now.
func Due(s Status, mark, urgent, key string, now time.Time) string {
	age := now.Sub(s.At)
	night := time.Date(now.Year(), now.Month(), now.Day(), nightHour, 0, 0, 0, now.Location())
	switch {
	case !s.FailedAt.IsZero() && now.Sub(s.FailedAt) < retryAfter:
		return ""
	case s.Name == "":
		return "there is none yet"
	case key != s.Key:
		return "there is a new recovery key"
	case urgent != s.Urgent:
		return "what serves people changed"
	case mark != s.Mark && age >= atMost:
		return "something changed"
	case !now.Before(night) && s.At.Before(night):
		return "it is night"
	}
	return ""
}

// Wake lets Run look now, also soon after a failure.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run makes a backup of the state whenever one is due, until ctx ends. tell is
// told how each went.
func (k *Keeper) Run(ctx context.Context, tell func(Status, error)) error {
	wait := settleTime
	for {
		woken := false
		select {
		case <-ctx.Done():
			return nil
		case <-k.wake:
			woken = true
		case <-time.After(wait):
		}
		wait = lookEvery
		why, err := k.due(ctx, woken)
		if err != nil && ctx.Err() == nil {
			k.Log.Error("whether Bosman's own state needs a backup is not known", "err", err)
		}
		if why == "" {
			continue
		}
		s, err := k.Backup(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err == nil {
			k.Log.Info("Bosman's own state was backed up", "why", why, "target", s.Target, "took", s.Took)
		}
		tell(s, err)
	}
}

func (k *Keeper) due(ctx context.Context, woken bool) (string, error) {
	s, err := ReadStatus(k.Data)
	if err != nil {
		return "its status cannot be read", nil //nolint:nilerr // a backup writes it anew
	}
	if woken {
		s.FailedAt = time.Time{}
	}
	mark, urgent, err := k.Sources.Mark(ctx)
	if err != nil {
		return "", err
	}
	key, err := ReadKey(filepath.Join(k.Data, RecoveryFile))
	return Due(s, mark, urgent, key.Fingerprint, time.Now()), err
}
