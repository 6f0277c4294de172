// Package texts is the one catalogue of what pages say. English is the text
// itself; another language is a table from English to its forms, with as many
// plurals as it has. It must not know pages.
package texts

import (
	"context"
	"fmt"
)

// Language is one language: its plural rule and the forms of each text.
type Language struct {
	Tag    string              // "en", "pl"
	Plural func(n int) int     // index of the form for n
	Forms  map[string][]string // English (for counts: its singular) → forms; nil for English
}

// English is the language the texts are written in.
func English() Language {
	return Language{Tag: "en", Plural: func(n int) int {
		if n == 1 {
			return 0
		}
		return 1
	}}
}

// PolishPlural gives 0 for one thing, 1 for 2 to 4 (but not 12 to 14), 2 for
// all other counts.
func PolishPlural(n int) int {
	switch {
	case n == 1:
		return 0
	case n%10 >= 2 && n%10 <= 4 && (n%100 < 12 || n%100 > 14):
		return 1
	}
	return 2
}

type key struct{}

// With makes a context whose texts are in a language.
func With(ctx context.Context, l Language) context.Context { return context.WithValue(ctx, key{}, l) }

// Of gives the language of a context; English without one.
func Of(ctx context.Context) Language {
	if l, ok := ctx.Value(key{}).(Language); ok {
		return l
	}
	return English()
}

// T gives a text in the language of ctx, with args put in as fmt does.
func T(ctx context.Context, text string, args ...any) string {
	if forms := Of(ctx).Forms[text]; len(forms) > 0 {
		text = forms[0]
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}

// N gives the text for n things; one and other hold one %d.
func N(ctx context.Context, n int, one, other string) string {
	l := Of(ctx)
	form := l.Plural(n)
	text := other
	if forms := l.Forms[one]; form < len(forms) {
		text = forms[form]
	} else if form == 0 {
		text = one
	}
	return fmt.Sprintf(text, n)
}
