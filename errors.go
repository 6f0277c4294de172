package bosman

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// ErrorKind tells programs what sort of failure happened.
type ErrorKind string

// The kinds of errors.
const (
	KindInvalid     ErrorKind = "invalid"     // the input is wrong; asking again will not help
	KindNotFound    ErrorKind = "not-found"   // no such thing
	KindConflict    ErrorKind = "conflict"    // the state of things forbids it now
	KindForbidden   ErrorKind = "forbidden"   // this person may not
	KindBusy        ErrorKind = "busy"        // somebody else's operation holds it
	KindFailed      ErrorKind = "failed"      // the user's command, check or migration failed
	KindUnavailable ErrorKind = "unavailable" // a part (database, disk, host) is out of reach or full
	KindInternal    ErrorKind = "internal"    // a defect of Bosman
)

// Error is a failure a person may meet. Message says what happened, Kept what
// was left untouched, Next what to do; Cause is for operators.
type Error struct {
	Kind    ErrorKind
	Message string
	Kept    string
	Next    string
	Cause   error
}

// Error gives all four parts on one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Message)
	if e.Cause != nil {
		b.WriteString(": " + e.Cause.Error())
	}
	if e.Kept != "" {
		b.WriteString("; " + e.Kept)
	}
	if e.Next != "" {
		b.WriteString("; " + e.Next)
	}
	return b.String()
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Cause }

// WithKept adds what was left untouched.
func (e *Error) WithKept(kept string) *Error { e.Kept = kept; return e }

// WithNext adds what to do next.
func (e *Error) WithNext(next string) *Error { e.Next = next; return e }

// Because adds the cause.
func (e *Error) Because(cause error) *Error { e.Cause = cause; return e }

func newError(kind ErrorKind, format string, args []any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Invalid makes an error of KindInvalid.
func Invalid(format string, args ...any) *Error { return newError(KindInvalid, format, args) }

// NotFound makes an error of KindNotFound.
func NotFound(format string, args ...any) *Error { return newError(KindNotFound, format, args) }

// Conflict makes an error of KindConflict.
func Conflict(format string, args ...any) *Error { return newError(KindConflict, format, args) }

// Forbidden makes an error of KindForbidden.
func Forbidden(format string, args ...any) *Error { return newError(KindForbidden, format, args) }

// Busy makes an error of KindBusy.
func Busy(format string, args ...any) *Error { return newError(KindBusy, format, args) }

// Failed makes an error of KindFailed.
func Failed(format string, args ...any) *Error { return newError(KindFailed, format, args) }

// Unavailable makes an error of KindUnavailable.
func Unavailable(format string, args ...any) *Error { return newError(KindUnavailable, format, args) }

// Internal makes an error of KindInternal.
func Internal(format string, args ...any) *Error { return newError(KindInternal, format, args) }

// KindOf gives the kind of the first *Error in err's chain, KindInternal for
// any other error, and "" for nil.
func KindOf(err error) ErrorKind {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}

// AsError gives the first *Error in err's chain, or wraps err as KindInternal.
// It is nil for nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return Internal("something went wrong inside Bosman").Because(err)
}

// errorJSON is how an Error is kept and sent.
type errorJSON struct {
	Kind    ErrorKind `json:"kind"`
	Message string    `json:"message"`
	Kept    string    `json:"kept,omitempty"`
	Next    string    `json:"next,omitempty"`
	Cause   string    `json:"cause,omitempty"`
}

// MarshalJSON keeps the cause as text.
func (e *Error) MarshalJSON() ([]byte, error) {
	out := errorJSON{Kind: e.Kind, Message: e.Message, Kept: e.Kept, Next: e.Next}
	if e.Cause != nil {
		out.Cause = e.Cause.Error()
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (e *Error) UnmarshalJSON(data []byte) error {
	var in errorJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	*e = Error{Kind: in.Kind, Message: in.Message, Kept: in.Kept, Next: in.Next}
	if in.Cause != "" {
		e.Cause = errors.New(in.Cause)
	}
	return nil
}
