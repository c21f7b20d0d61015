package feedback

// chunkLen is the number of elements that a queue allocates at a time.
const chunkLen = 8192

// queue is a first-in first-out queue whose elements have positions: the first element ever
// put has position 0. Its memory follows its length, and adding an element copies no others.
type queue[T any] struct {
	chunks   []*[chunkLen]T // the first has the position head
	spare    *[chunkLen]T   // one that has become free
	head     uint64         // position of the oldest element
	tail     uint64         // position of the next element
	firstLen uint64         // positions before the first chunk
}

func (q *queue[T]) len() int { return int(q.tail - q.head) }

// at returns the element at a position, which must be between head and tail.
func (q *queue[T]) at(position uint64) *T {
	from := position - q.firstLen
	return &q.chunks[from/chunkLen][from%chunkLen]
}

// put adds an element.
func (q *queue[T]) put(v T) {
	q.room()
	*q.at(q.tail) = v
	q.tail++
}

// putAll adds elements.
func (q *queue[T]) putAll(list []T) {
	for len(list) > 0 {
		q.room()
		from := (q.tail - q.firstLen) % chunkLen
		n := copy(q.chunks[len(q.chunks)-1][from:], list)
		list = list[n:]
		q.tail += uint64(n)
	}
}

// room makes room for one more element.
func (q *queue[T]) room() {
	if q.tail-q.firstLen < uint64(len(q.chunks))*chunkLen {
		return
	}
	if q.spare == nil {
		q.spare = new([chunkLen]T)
	}
	q.chunks, q.spare = append(q.chunks, q.spare), nil
}

// get appends the n elements from a position on.
func (q *queue[T]) get(to []T, position uint64, n int) []T {
	for n > 0 {
		from := position - q.firstLen
		part := q.chunks[from/chunkLen][from%chunkLen:]
		part = part[:min(n, len(part))]
		to = append(to, part...)
		position, n = position+uint64(len(part)), n-len(part)
	}
	return to
}

// drop removes the n oldest elements.
func (q *queue[T]) drop(n int) {
	q.head += uint64(n)
	for len(q.chunks) > 0 && q.head-q.firstLen >= chunkLen {
		q.spare, q.chunks[0] = q.chunks[0], nil
		q.chunks = q.chunks[1:]
		q.firstLen += chunkLen
	}
}
