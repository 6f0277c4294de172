package custody

import (
	"archive/tar"
	"io"
)

func writeTar(w io.Writer, files [][2]string) error {
	t := tar.NewWriter(w)
	for _, f := range files {
		if err := t.WriteHeader(&tar.Header{Name: f[0], Size: int64(len(f[1])), Mode: 0o600}); err != nil {
			return err
		}
		if _, err := io.WriteString(t, f[1]); err != nil {
			return err
		}
	}
	return t.Close()
}
