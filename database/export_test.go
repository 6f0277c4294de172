package database

// For the tests beside this package, which have a real vault.
var (
	SealObject   = seal
	UnsealObject = unseal
	SumOf        = sumOf
)
