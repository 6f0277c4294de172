package ground

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// pourSize is how much is taken at once, in bytes: also the largest pipe that
// Linux gives to everybody (/proc/sys/fs/pipe-max-size).
const pourSize = 1 << 20

// Pour runs a program that is to be killed when we die and gives what it
// prints to a writer, in large pieces: a dump of gigabytes that is written in
// lines would else wake us for each of them. The program goes on while a piece
// is taken. started, which may be nil, is told its pid. refused is why the
// writer took no more: the program only saw its output closed.
//
// A program prints into a pipe in pieces of 4 KB by itself (setvbuf(3)), each
// of them a call of the kernel that may wake us. Where coreutils has the
// library behind stdbuf, which gives a program a larger piece, it is used: a
// dump of 700 MB took half a second less of the processor.
func Pour(cmd *exec.Cmd, to io.Writer, started func(pid int)) (refused, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, _ = unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, pourSize) // it does as well without
	cmd.Stdout = w
	inLargePieces(cmd)
	// Linux ties the death of the program to the thread that started it, which
	// must therefore live as long.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, w.Close(), r.Close())
	}
	if started != nil {
		started(cmd.Process.Pid)
	}
	poured := make(chan error, 1)
	go func() { poured <- pour(r, to) }()
	err = w.Close() // the program has its own
	err = errors.Join(cmd.Wait(), err)
	return <-poured, err
}

// stdbufs is where coreutils keeps the library behind stdbuf(1).
var stdbufs = []string{"/usr/libexec/coreutils/libstdbuf.so", "/usr/lib/coreutils/libstdbuf.so"}

// inLargePieces has a program print in large pieces, if that can be had. It
// says what stdbuf would say but does not run it: not every stdbuf becomes the
// program it runs. Where one starts it and waits, whoever ends stdbuf, as our
// own death does, would leave the program running.
func inLargePieces(cmd *exec.Cmd) {
	for _, library := range stdbufs {
		if _, err := os.Stat(library); err == nil {
			cmd.Env = append(cmd.Environ(), "LD_PRELOAD="+library, "_STDBUF_O="+strconv.Itoa(pourSize/4))
			return
		}
	}
}

// pour gives what comes from r to a writer until either ends, and closes r. It
// gives the writer's error.
func pour(r *os.File, to io.Writer) (refused error) {
	full, free := make(chan []byte), make(chan []byte, 2)
	free <- make([]byte, pourSize)
	free <- make([]byte, pourSize)
	go func() {
		defer close(full)
		for piece := range free {
			n, err := gather(r, piece)
			if n > 0 {
				full <- piece[:n]
			}
			if err != nil {
				return // the program has closed its output, or the writer r
			}
		}
	}()
	for piece := range full {
		if refused == nil {
			if _, refused = to.Write(piece); refused != nil {
				_ = r.Close() // the program sees it; nothing is lost that anybody wants
			}
		}
		free <- piece[:cap(piece)]
	}
	_ = r.Close() // only read
	return refused
}

// gather fills half of a piece or more, unless the end comes before.
func gather(r io.Reader, piece []byte) (n int, err error) {
	for n < len(piece)/2 && err == nil {
		var m int
		m, err = r.Read(piece[n:])
		n += m
		if m < len(piece)/16 && err == nil {
			time.Sleep(time.Millisecond) // for more to come
		}
	}
	return n, err
}
