package wire

// RecoveryKey is the recovery key as it is shown, once.
type RecoveryKey struct {
	Secret      string `json:"secret"`
	Fingerprint string `json:"fingerprint"`
}
