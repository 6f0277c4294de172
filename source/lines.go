package source

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/bosman-cd/bosman"
)

// LineRange is the lines From to To of a file, both included, from 1.
type LineRange struct{ From, To int }

// ChangedLines gives, for each file of to, the lines that are new or changed
// against from (the two trees as they are). Give it main and the merge
// result, and the lines are those a build of the merge result reports on.
// Files without new lines and binary files are left out.
func (r *Repo) ChangedLines(ctx context.Context, from, to string) (map[string][]LineRange, error) {
	if err := checkRev(from, to); err != nil {
		return nil, err
	}
	pr, pw := io.Pipe()
	type result struct {
		lines map[string][]LineRange
		err   error
	}
	done := make(chan result, 1)
	go func() {
		lines, err := parseHunks(bufio.NewReaderSize(pr, 64<<10))
		pr.CloseWithError(err) // nil: end of file for the writer
		done <- result{lines, err}
	}()
	_, err := r.run(ctx, call{out: pw, args: []string{
		"diff", "-U0", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "--no-indent-heuristic",
		"--src-prefix=a/", "--dst-prefix=b/", "--end-of-options", qualify(from), qualify(to), "--",
	}})
	pw.CloseWithError(io.EOF)
	res := <-done
	if res.err != nil {
		return nil, errors.Join(res.err, err)
	}
	if err != nil {
		return nil, noSuchCommit(err, r.App, []string{from, to})
	}
	return res.lines, nil
}

// parseHunks reads `git diff -U0`. The lines of a hunk are counted, so that a
// changed line that looks like a header is not taken for one.
func parseHunks(in *bufio.Reader) (map[string][]LineRange, error) {
	lines := map[string][]LineRange{}
	file, skip := "", 0
	for {
		line, err := readLine(in)
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return nil, err
		}
		switch {
		case strings.HasPrefix(line, "\\"): // "\ No newline at end of file"
		case skip > 0:
			skip--
		case strings.HasPrefix(line, "+++ "):
			file = strings.TrimPrefix(unquote(strings.TrimSuffix(line[4:], "\t")), "b/")
			if line[4:] == "/dev/null" {
				file = ""
			}
		case strings.HasPrefix(line, "@@ "):
			parts := strings.Fields(line)
			if len(parts) < 4 {
				return nil, bosman.Internal("git's diff is not understood: %q", line)
			}
			_, removed, err1 := hunk(parts[1], "-")
			start, added, err2 := hunk(parts[2], "+")
			if err1 != nil || err2 != nil {
				return nil, bosman.Internal("git's diff is not understood: %q", line).Because(errors.Join(err1, err2))
			}
			skip = removed + added
			if added > 0 && file != "" {
				lines[file] = append(lines[file], LineRange{start, start + added - 1})
			}
		}
	}
}

func hunk(s, sign string) (start, count int, err error) {
	from, n, many := strings.Cut(strings.TrimPrefix(s, sign), ",")
	if start, err = strconv.Atoi(from); err != nil || !many {
		return start, 1, err
	}
	count, err = strconv.Atoi(n)
	return start, count, err
}

// readLine reads a line without its end and keeps no more than 64 KB of it.
func readLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadSlice('\n')
	s := strings.TrimSuffix(string(line), "\n")
	for errors.Is(err, bufio.ErrBufferFull) {
		_, err = in.ReadSlice('\n')
	}
	if errors.Is(err, io.EOF) && s != "" {
		return s, nil
	}
	return s, err
}

// unquote undoes git's C-style quoting of unusual paths.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	s = s[1 : len(s)-1]
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if n := strings.IndexByte("abtnvfr", s[i]); n >= 0 {
			b.WriteByte("\a\b\t\n\v\f\r"[n])
			continue
		}
		if i+2 < len(s) && s[i] >= '0' && s[i] <= '3' {
			if v, err := strconv.ParseUint(s[i:i+3], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
