package manifest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bosman-cd/bosman"
)

// Definition is the canonical hash (SHA-256, hex) of what makes a release out
// of a tree: root, environment, build steps with the names of their secrets,
// and the mount points made before it is sealed. Comments, order of keys,
// tests, processes and policy do not change it.
func Definition(m *bosman.Manifest) string {
	type step struct {
		Name, Run                string
		Inputs, Outputs, Secrets []string
		Env                      map[string]string
		Variants                 map[string]map[string]string
		Timeout                  time.Duration
	}
	def := struct {
		Version   int
		Root      string
		Env       map[string]string
		Build     []step
		Data      []string
		Templates map[string]string
	}{Version: 1, Root: m.Root, Env: m.Env, Data: m.Data, Templates: m.Templates}
	for _, s := range m.Build {
		def.Build = append(def.Build, step{s.Name, s.Run, s.Inputs, s.Outputs, s.Secrets, s.Env, s.Variants, s.Timeout})
	}
	text, err := json.Marshal(def) // maps are written in the order of their keys
	if err != nil {
		text = fmt.Appendf(nil, "%#v", def) // cannot happen: strings and numbers only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Loosens lists, one sentence each, how the policy of next protects live less
// than that of old. It is nil when nothing does, and when there is no old one.
func Loosens(old, next *bosman.Manifest) []string {
	if old == nil || next == nil {
		return nil
	}
	var list []string
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	a, b := old.PolicyFor(bosman.KindLive), next.PolicyFor(bosman.KindLive)
	if a.Deploy.After != b.Deploy.After && a.Deploy.After != "" {
		if b.Deploy.After == "" {
			say("live may be deployed without having run on %s", a.Deploy.After)
		} else {
			say("live may be deployed after %s, not after %s", b.Deploy.After, a.Deploy.After)
		}
	}
	if text := widened(old, next, a.Deploy.Window, b.Deploy.Window); text != "" {
		list = append(list, text)
	}
	if b.Deploy.AtHand < a.Deploy.AtHand {
		say("live needs %d people at hand, not %d", b.Deploy.AtHand, a.Deploy.AtHand)
	}
	if b.Backup.Keep < a.Backup.Keep {
		say("%d backups of live are kept, not %d", b.Backup.Keep, a.Backup.Keep)
	}
	if b.Backup.For < a.Backup.For {
		say("backups of live are kept for %s, not %s", span(b.Backup.For), span(a.Backup.For))
	}
	if a.Backup.At != "" && b.Backup.At != a.Backup.At {
		if b.Backup.At == "" {
			say("backups of live are made before deployments only, no longer at %q", a.Backup.At)
		} else {
			say("backups of live are made at %q, not at %q", b.Backup.At, a.Backup.At)
		}
	}
	if a.Backup.Verify == "before" && b.Backup.Verify != "before" {
		say("backups of live are verified at night, not before each deployment")
	}
	if b.Watch.For < a.Watch.For {
		say("live is watched for %s after a deployment, not %s", span(b.Watch.For), span(a.Watch.For))
	}
	if a.Watch.Revert && !b.Watch.Revert {
		say("live is no longer reverted by itself")
	}
	if from, to := old.PolicyFor(bosman.KindStaging).Follow, next.PolicyFor(bosman.KindStaging).Follow; from != to {
		say("staging follows %s, not %s", word(to), word(from))
	}
	return append(list, unmasks(old, next)...)
}

// widened compares the minutes of a week in which live may be deployed.
func widened(old, next *bosman.Manifest, from, to string) string {
	before, err1 := bosman.ParseWindow(from, location(old.Timezone))
	after, err2 := bosman.ParseWindow(to, location(next.Timezone))
	if err1 != nil || err2 != nil {
		return fmt.Sprintf("live's deploy window changes from %q to %q", from, to)
	}
	more := 0
	// a winter week and a summer week, since zones differ in their clocks
	for _, monday := range []time.Time{time.Date(2026, 1, 12, 0, 0, 0, 0, time.UTC), time.Date(2026, 7, 13, 0, 0, 0, 0, time.UTC)} {
		for minute := range 7 * 24 * 60 {
			t := monday.Add(time.Duration(minute) * time.Minute)
			if after.Open(t) && !before.Open(t) {
				more++
			}
		}
	}
	if more == 0 {
		return ""
	}
	if from == to {
		return fmt.Sprintf("live's deploy window %s moves from the zone %s to %s", after, old.Timezone, next.Timezone)
	}
	return fmt.Sprintf("live may be deployed %s, not only %s", after, before)
}

func location(name string) *time.Location {
	if z, err := time.LoadLocation(name); err == nil {
		return z
	}
	return time.UTC
}

func word(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}
