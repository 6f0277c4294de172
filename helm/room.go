package helm

import (
	"context"

	"github.com/bosman-cd/bosman"
)

// StopForRoom stops a testing or preview instance whose data grew until the
// disk was nearly full. Its data stays; why is shown with the operation.
func (h *Helm) StopForRoom(ctx context.Context, i bosman.Instance, why string) error {
	if i.Kind != bosman.KindTesting && i.Kind != bosman.KindPreview {
		return bosman.Internal("%s is not stopped for others' room", i.Name)
	}
	return h.sleep(ctx, i, why)
}
