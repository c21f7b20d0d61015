package obs

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strconv"
	"strings"

	"github.com/mosel-serve/mosel/internal/sched"
)

// JobIDs converts the core's job numbers, which count from 1, to the ids that clients
// see: "j-" and 26 letters and digits. An id is the number encrypted with a key that is
// drawn when the server starts. So ids of one server differ, and ids of two starts are
// equal only with probability 2^-64. Ids do not reveal the number of requests, and no
// table is needed, because the number can be decrypted. It is safe for concurrent use.
// A nil JobIDs uses the plain numbers as ids, for tests.
type JobIDs struct{ block cipher.Block }

// NewJobIDs draws a random key.
func NewJobIDs() *JobIDs {
	var key [16]byte
	rand.Read(key[:]) // never fails
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // only for a wrong key size
	}
	return &JobIDs{block}
}

const jobPrefix = "j-"

var jobEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Of returns the id of a job.
func (ids *JobIDs) Of(job sched.JobID) string {
	if ids == nil {
		return strconv.FormatUint(uint64(job), 10)
	}
	var number [aes.BlockSize]byte
	binary.BigEndian.PutUint64(number[8:], uint64(job))
	ids.block.Encrypt(number[:], number[:])
	text := [len(jobPrefix) + 26]byte{'j', '-'}
	jobEncoding.Encode(text[len(jobPrefix):], number[:])
	return string(text[:])
}

// Job returns the job of an id; false if this server did not make the id.
func (ids *JobIDs) Job(id string) (sched.JobID, bool) {
	if ids == nil {
		job, err := strconv.ParseUint(id, 10, 64)
		return sched.JobID(job), err == nil
	}
	text, ok := strings.CutPrefix(id, jobPrefix)
	number, err := jobEncoding.DecodeString(text)
	if !ok || err != nil || len(number) != aes.BlockSize {
		return 0, false
	}
	ids.block.Decrypt(number, number)
	job := sched.JobID(binary.BigEndian.Uint64(number[8:]))
	return job, binary.BigEndian.Uint64(number) == 0 && ids.Of(job) == id // each job has exactly one id
}
