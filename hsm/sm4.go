package hsm

// SM4 says by which numbers of its vendor a module knows SM4, for which PKCS #11
// has none in its published versions. The zero value: the module has no SM4.
type SM4 struct {
	// KeyType is CKA_KEY_TYPE of an SM4 key.
	KeyType uint
	// Derive makes a key of the cipher text of a block, as
	// CKM_AES_ECB_ENCRYPT_DATA does for AES and with the same parameter.
	Derive uint
	// CBC enciphers a chain of blocks without padding; its parameter is the
	// start, 16 bytes.
	CBC uint
	// ValueLen says that the module wants CKA_VALUE_LEN with a derived key.
	ValueLen bool
}

// Set reports whether the module has SM4.
func (s SM4) Set() bool { return s != SM4{} }
