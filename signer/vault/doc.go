// Package vault keeps the keys under which sealed content is encrypted, so
// that the content of one data subject can be erased by destroying its keys
// while every hash and signature stays.
//
// # Keys
//
// A data key is 32 random bytes for AES-256-GCM, one for each (tenant, subject,
// generation). It is wrapped by the tenant's key-encryption key. Generations of
// a subject count from 1; a new one begins with [Vault.Retire], after an erasure,
// and after [RotateAfter] values. A subject is a pseudonymous id; the file holds only
// HMAC-SHA-256 of it under a key derived from the key-encryption key.
//
// # Files
//
// All files are in one folder, mode 0600, held by one process at a time (on
// Windows that is left to the operator):
//
//	lock            locked while a vault is open
//	<tenant>.kek    key-encryption key, 32 bytes in PEM
//	<tenant>.fpk    fingerprint keys, 32 bytes in PEM each, the oldest first
//	<tenant>.keys   data keys, append only except for DestroyThrough
//
// A key file is the 16 bytes "custody/keys/v1\n", then frames:
//
//	4  number of records n, big endian, 1 ≤ n ≤ 4096
//	n  records of 97 bytes
//	4  CRC-32C of everything before it in the frame
//
// A record is:
//
//	 1  type: 1 key, 2 erased
//	32  subject, hashed
//	 4  generation, big endian, from 1
//	12  nonce   } AES-256-GCM of the data key under the key-encryption key;
//	48  wrapped } zeros for type 2
//
// The additional data of a wrapped key is "custody/datakey/v1\0" ‖ tenant ‖ NUL
// ‖ hashed subject ‖ generation, so that no record can be moved. An erased
// record says that this generation and all before it are gone.
//
// # Crashes
//
// [Vault.Ensure] syncs new keys before it returns them, so a value is never
// encrypted under a key that a crash can lose. A frame that a crash left
// unfinished at the end of the file was never handed out, and is cut off when
// the file is next opened; damage by the medium to the very last frame looks
// the same. A damaged frame anywhere else is [ErrCorrupt].
//
// [Vault.DestroyThrough] writes the file anew without the subject's keys, moves
// it into place, syncs the folder and overwrites the old bytes. Before the move a
// crash leaves the keys, after it they are gone; the caller, who has written down
// first what is to go, repeats DestroyThrough until it succeeds.
//
// # What is not promised
//
// Erasing depends on the medium: a file system or disk that keeps old blocks,
// and any backup of the folder, keeps old keys with it. Keep the folder out of
// data backups. Loss of the folder is loss of all sealed content.
//
// Worked example:
//
//	v, _ := vault.OpenDir("/var/lib/custody/keys")
//	keys, _ := v.Ensure("acme", []string{"user-81"})
//	ciphertext, _ := vault.Seal(keys[0], aad, []byte("value"))
//	generation, _ := v.Retire("acme", "user-81") // 1; the next key is of 2
//	_ = v.DestroyThrough("acme", "user-81", generation)
//	_, err := vault.Open(keys[0], aad, ciphertext) // ErrErased
package vault
