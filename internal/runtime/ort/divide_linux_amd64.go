package ort

/*
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <ucontext.h>

static struct sigaction before;

// sizeOfDivision returns the length of the signed division (IDIV) at code, 0 if there
// is none. wide says whether it has 64 bits or 32.
static int sizeOfDivision(const uint8_t *code, int *wide) {
	const uint8_t *p = code;
	*wide = 0;
	if ((*p & 0xf0) == 0x40) *wide = (*p++ & 8) != 0; // REX
	if (*p++ != 0xf7 || (*p >> 3 & 7) != 7) return 0;
	int mode = *p >> 6, rm = *p & 7;
	p++;
	if (mode != 3 && rm == 4) { // SIB
		if (mode == 0 && (*p & 7) == 5) p += 4;
		p++;
	} else if (mode == 0 && rm == 5) {
		p += 4;
	}
	if (mode == 1) p += 1;
	if (mode == 2) p += 4;
	return p - code;
}

// onDivision gives the division of the lowest integer by -1 its result in two's
// complement, as on other processors: the lowest integer, and remainder 0. It passes
// everything else to the previous handler.
static void onDivision(int number, siginfo_t *info, void *context) {
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	int wide, size = 0;
	if (info->si_code == FPE_INTDIV) size = sizeOfDivision((const uint8_t *)registers[REG_RIP], &wide);
	if (size > 0) {
		uint64_t low = registers[REG_RAX], high = registers[REG_RDX];
		int least = wide ? low == 1ull << 63 && high == ~0ull : (uint32_t)low == 1u << 31 && (uint32_t)high == ~0u;
		if (least) {
			registers[REG_RAX] = wide ? (greg_t)(1ull << 63) : (greg_t)(1u << 31);
			registers[REG_RDX] = 0;
			registers[REG_RIP] += size;
			return;
		}
	}
	if (before.sa_flags & SA_SIGINFO) {
		before.sa_sigaction(number, info, context);
		return;
	}
	sigaction(SIGFPE, &before, NULL); // the division is repeated, with the previous action
}

static void catchDivision(void) {
	struct sigaction a = {0};
	a.sa_sigaction = onDivision;
	a.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
	sigfillset(&a.sa_mask);
	sigaction(SIGFPE, &a, &before);
}
*/
import "C"

import "sync"

// catchDivisions stops a client's numbers from ending the process. The processor raises
// a signal when the lowest integer is divided by -1, which has no result, and ONNX
// Runtime does not check for it. The handler is installed once, before Go's, and passes
// all other signals on to it.
var catchDivisions = sync.OnceFunc(func() { C.catchDivision() })
