package ort

/*
#cgo LDFLAGS: -ldl
#define _GNU_SOURCE // RTLD_DEFAULT
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// The C interface of ONNX Runtime is a table of functions, to which new ones are only
// appended: a function's index is part of the binary interface and never changes.
enum {
	GetErrorCode = 1, GetErrorMessage = 2, CreateEnv = 3, CreateSession = 7, Run = 9, SetOptimizedModelFilePath = 11, CreateTensorAsOrtValue = 48, CreateTensorWithDataAsOrtValue = 49,
	IsTensor = 50, GetTensorMutableData = 51, GetStringTensorDataLength = 53, GetStringTensorContent = 54, GetTensorElementType = 60, GetDimensionsCount = 61, GetDimensions = 62,
	GetTensorTypeAndShape = 65, GetAllocatorWithDefaultOptions = 78, ReleaseEnv = 92, ReleaseStatus = 93, ReleaseSession = 95, ReleaseValue = 96,
	ReleaseTensorTypeAndShapeInfo = 99, GetAvailableProviders = 125, ReleaseAvailableProviders = 126, AddInitializer = 150, AddRunConfigEntry = 165,
	CreatePrepackedWeightsContainer = 166, ReleasePrepackedWeightsContainer = 167, CreateSessionWithPrepackedWeightsContainer = 168,
	GetResizedStringTensorElementBuffer = 252,
	GetEpGraphAssignmentInfo = 407, EpAssignedSubgraphGetEpName = 408, EpAssignedSubgraphGetNodes = 409,
	tableVersion = 24 // of the interface, in which all of these exist
};

typedef struct {
	void *const *(*table)(uint32_t version);
	const char *(*version)(void);
} base;

static void *library;
static void *const *api;
static void *environment; // the process's: it has only one, and counts who uses it

enum { logFatal = 4 };

static const char *openTable(const char *path) {
	library = dlopen(path, RTLD_LAZY);
	if (library == NULL) return dlerror();
	const base *(*getBase)(void) = (const base *(*)(void))dlsym(library, "OrtGetApiBase");
	if (getBase == NULL) return "it has no OrtGetApiBase";
	api = getBase()->table(tableVersion);
	return api == NULL ? "its interface is too old" : NULL;
}

static void closeTable(void) {
	if (api != NULL && environment != NULL) ((void (*)(void *))api[ReleaseEnv])(environment);
	environment = NULL;
	api = NULL;
	if (library != NULL) dlclose(library);
	library = NULL;
}

// cannotLoad says why the system's loader refuses a library; NULL: it does not.
static const char *cannotLoad(const char *path) {
	void *handle = dlopen(path, RTLD_LAZY);
	if (handle == NULL) return dlerror();
	dlclose(handle);
	return NULL;
}

// trim returns unused memory of the C library to the system, if it can.
static void trim(void) {
	int (*mallocTrim)(size_t) = (int (*)(size_t))dlsym(RTLD_DEFAULT, "malloc_trim");
	if (mallocTrim != NULL) mallocTrim(0);
}

// openEnvironment takes a share in the environment that the binding has made.
static void *openEnvironment(void) {
	return ((void *(*)(int, const char *, void **))api[CreateEnv])(logFatal, "mosel", &environment);
}

// newSession loads a graph from a file. Prepared weights are shared through a container
// unless that is NULL.
static void *newSession(const char *path, void *options, void *container, void **session) {
	if (container == NULL)
		return ((void *(*)(const void *, const char *, const void *, void **))api[CreateSession])(environment, path, options, session);
	return ((void *(*)(const void *, const char *, const void *, void *, void **))api[CreateSessionWithPrepackedWeightsContainer])(
		environment, path, options, container, session);
}

static void releaseSession(void *session) { ((void (*)(void *))api[ReleaseSession])(session); }

static void *newContainer(void **container) { return ((void *(*)(void **))api[CreatePrepackedWeightsContainer])(container); }
static void releaseContainer(void *container) { ((void (*)(void *))api[ReleasePrepackedWeightsContainer])(container); }

// writeOptimised has a session write its optimised graph to a file.
static void *writeOptimised(void *options, const char *path) {
	return ((void *(*)(void *, const char *))api[SetOptimizedModelFilePath])(options, path);
}

// addInitializer gives a graph a weight that somebody else has in memory.
static void *addInitializer(void *options, const char *name, void *value) {
	return ((void *(*)(void *, const char *, const void *))api[AddInitializer])(options, name, value);
}

static int errorCode(void *status) { return ((int (*)(const void *))api[GetErrorCode])(status); }
static const char *errorMessage(void *status) { return ((const char *(*)(const void *))api[GetErrorMessage])(status); }
static void releaseStatus(void *status) { ((void (*)(void *))api[ReleaseStatus])(status); }
static void releaseValue(void *value) { ((void (*)(void *))api[ReleaseValue])(value); }

static void *addRunConfigEntry(void *options, const char *key, const char *value) {
	return ((void *(*)(void *, const char *, const char *))api[AddRunConfigEntry])(options, key, value);
}

static void *createTensor(void *memory, void *data, size_t bytes, const int64_t *shape, size_t rank, int element, void **value) {
	return ((void *(*)(const void *, void *, size_t, const int64_t *, size_t, int, void **))api[CreateTensorWithDataAsOrtValue])(
		memory, data, bytes, shape, rank, element, value);
}

static void *run(void *session, void *options, char **inputNames, void **inputs, size_t inputCount,
                 char **outputNames, size_t outputCount, void **outputs) {
	return ((void *(*)(void *, const void *, char **, void **, size_t, char **, size_t, void **))api[Run])(
		session, options, inputNames, inputs, inputCount, outputNames, outputCount, outputs);
}

enum { stringElement = 8 }; // ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING

// A description of a tensor. element is -1 for a value that is no tensor. Texts have
// no data but textBytes, without their lengths.
typedef struct {
	int element;
	size_t rank;
	int64_t shape[16];
	void *data;
	size_t textBytes;
} description;

static void *describe(void *value, description *d) {
	void *status = NULL, *info = NULL;
	int is = 0;
	if ((status = ((void *(*)(const void *, int *))api[IsTensor])(value, &is)) != NULL) return status;
	if (!is) {
		d->element = -1;
		return NULL;
	}
	if ((status = ((void *(*)(const void *, void **))api[GetTensorTypeAndShape])(value, &info)) != NULL) return status;
	status = ((void *(*)(const void *, int *))api[GetTensorElementType])(info, &d->element);
	if (status == NULL) status = ((void *(*)(const void *, size_t *))api[GetDimensionsCount])(info, &d->rank);
	if (status == NULL && d->rank <= 16)
		status = ((void *(*)(const void *, int64_t *, size_t))api[GetDimensions])(info, d->shape, d->rank);
	((void (*)(void *))api[ReleaseTensorTypeAndShapeInfo])(info);
	if (status == NULL && d->element == stringElement)
		return ((void *(*)(const void *, size_t *))api[GetStringTensorDataLength])(value, &d->textBytes);
	if (status == NULL) status = ((void *(*)(void *, void **))api[GetTensorMutableData])(value, &d->data);
	return status;
}

// newTexts makes a tensor of texts. data has the length of each as a little-endian
// uint32 and its bytes; count says how many there are. Texts may have zeros in them,
// which rules out the functions that take C strings.
static void *newTexts(const int64_t *shape, size_t rank, const unsigned char *data, size_t count, void **value) {
	void *status = NULL, *allocator = NULL;
	if ((status = ((void *(*)(void **))api[GetAllocatorWithDefaultOptions])(&allocator)) != NULL) return status;
	status = ((void *(*)(void *, const int64_t *, size_t, int, void **))api[CreateTensorAsOrtValue])(allocator, shape, rank, stringElement, value);
	for (size_t i = 0; status == NULL && i < count; i++) {
		size_t length = (size_t)data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16 | (size_t)data[3] << 24;
		char *buffer = NULL;
		status = ((void *(*)(void *, size_t, size_t, char **))api[GetResizedStringTensorElementBuffer])(*value, i, length, &buffer);
		if (status == NULL && length > 0) memcpy(buffer, data + 4, length);
		data += 4 + length;
	}
	return status;
}

// texts copies the bytes of all texts of a tensor, one after the other, and where
// each begins.
static void *texts(void *value, void *data, size_t bytes, size_t *begins, size_t count) {
	return ((void *(*)(const void *, void *, size_t, size_t *, size_t))api[GetStringTensorContent])(value, data, bytes, begins, count);
}

// availableProviders returns the names of the execution providers of the library, and
// releaseProviders frees them.
static void *availableProviders(char ***list, int *count) {
	return ((void *(*)(char ***, int *))api[GetAvailableProviders])(list, count);
}

static void releaseProviders(char **list, int count) {
	releaseStatus(((void *(*)(char **, int))api[ReleaseAvailableProviders])(list, count));
}

// parts returns the parts that a session has divided its graph into. They are the session's.
static void *parts(void *session, void *const **list, size_t *count) {
	return ((void *(*)(void *, void *const **, size_t *))api[GetEpGraphAssignmentInfo])(session, list, count);
}

// part returns the provider that runs a part, and its number of operators.
static void *part(void *const *list, size_t i, const char **provider, size_t *operators) {
	void *const *nodes = NULL;
	void *status = ((void *(*)(const void *, const char **))api[EpAssignedSubgraphGetEpName])(list[i], provider);
	if (status == NULL) status = ((void *(*)(const void *, void *const **, size_t *))api[EpAssignedSubgraphGetNodes])(list[i], &nodes, operators);
	return status;
}
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	onnx "github.com/yalue/onnxruntime_go"

	"github.com/mosel-serve/mosel/tensor"
)

// The binding makes environment, options, and sessions that share nothing. Values, runs
// and sessions that share weights use this file, because the binding has no functions for
// the latter, would copy an output before its size is checked, cannot return some types,
// drops the kind of an error, and cannot return memory to the system.

// openTable finds the functions of the library that the binding has loaded.
func openTable(path string) error {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	if fault := C.openTable(name); fault != nil {
		text := C.GoString(fault)
		C.closeTable()
		return errors.New(text)
	}
	if err := take(C.openEnvironment()); err != nil {
		C.closeTable()
		return err
	}
	return nil
}

// trim returns unused memory of C to the system: loading a graph leaves some behind.
func trim() { C.trim() }

// closeTable releases the library.
func closeTable() { C.closeTable() }

// sharing is a session that may share its prepared weights.
type sharing struct{ handle handle }

// newSharing loads a graph. container may be nil.
func newSharing(path string, options *onnx.SessionOptions, container handle) (*sharing, error) {
	at, err := handleOf(options, "o")
	if err != nil {
		return nil, err
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	s := new(sharing)
	if err := take(C.newSession(name, at, container, &s.handle)); err != nil {
		return nil, err
	}
	return s, nil
}

// Destroy frees the session.
func (s *sharing) Destroy() error {
	C.releaseSession(s.handle)
	return nil
}

// newContainer makes a container of prepared weights, which its sessions must not outlive.
func newContainer() (container handle, err error) {
	err = take(C.newContainer(&container))
	return container, err
}

func releaseContainer(container handle) { C.releaseContainer(container) }

// writeOptimised has a session with these options write its optimised graph to a file.
func writeOptimised(options *onnx.SessionOptions, path string) error {
	at, err := handleOf(options, "o")
	if err != nil {
		return err
	}
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	return take(C.writeOptimised(at, name))
}

// addInitializer gives a session with these options a weight that somebody else has in
// memory.
func addInitializer(options *onnx.SessionOptions, name string, value handle) error {
	at, err := handleOf(options, "o")
	if err != nil {
		return err
	}
	text := C.CString(name)
	defer C.free(unsafe.Pointer(text))
	return take(C.addInitializer(at, text, value))
}

// handle is a pointer to an object of ONNX Runtime.
type handle = unsafe.Pointer

// handleOf returns the pointer that one of the binding's structures has in a field.
func handleOf(of any, path ...string) (handle, error) {
	v := reflect.ValueOf(of)
	for _, name := range path {
		if v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct {
			v = v.Elem().FieldByName(name)
		} else {
			v = reflect.Value{}
		}
	}
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return nil, fmt.Errorf("the binding to ONNX Runtime keeps no %v in %T: it is of another version", path, of)
	}
	return v.UnsafePointer(), nil
}

// names are strings for C.
type names []*C.char

func newNames(texts []string) names {
	n := make(names, len(texts))
	for i, text := range texts {
		n[i] = C.CString(text)
	}
	return n
}

func (n names) free() {
	for _, name := range n {
		C.free(unsafe.Pointer(name))
	}
}

// take turns a status into a Go error, nil for success.
func take(status unsafe.Pointer) error {
	if status == nil {
		return nil
	}
	defer C.releaseStatus(status)
	return &failure{int(C.errorCode(status)), C.GoString(C.errorMessage(status))}
}

// newTensor makes a value over Go memory, which must be pinned while the value exists.
func newTensor(shape tensor.Shape, data []byte, element onnx.TensorElementDataType) (handle, error) {
	memory, err := onnx.GetMemoryInfo()
	if err != nil {
		return nil, err
	}
	var value unsafe.Pointer
	err = take(C.createTensor(unsafe.Pointer(memory), unsafe.Pointer(unsafe.SliceData(data)), C.size_t(len(data)),
		(*C.int64_t)(unsafe.SliceData(shape)), C.size_t(len(shape)), C.int(element), &value))
	return value, err
}

// newTexts makes a value of texts. data is in the form of BYTES and has as many as the
// shape says; it is copied.
func newTexts(shape tensor.Shape, data []byte, count int) (handle, error) {
	var value unsafe.Pointer
	err := take(C.newTexts((*C.int64_t)(unsafe.SliceData(shape)), C.size_t(len(shape)),
		(*C.uchar)(unsafe.SliceData(data)), C.size_t(count), &value))
	if err != nil && value != nil {
		releaseValue(value)
		value = nil
	}
	return value, err
}

// readTexts copies the texts of a value, which were described, into the form of BYTES.
func readTexts(value handle, d described, count int) ([]byte, error) {
	data := make([]byte, 0, d.text+4*count)
	if count == 0 {
		return data, nil
	}
	content, begins := make([]byte, max(d.text, 1)), make([]C.size_t, count)
	if err := take(C.texts(value, unsafe.Pointer(unsafe.SliceData(content)), C.size_t(d.text), unsafe.SliceData(begins), C.size_t(count))); err != nil {
		return nil, err
	}
	for i, begin := range begins {
		end := C.size_t(d.text)
		if i+1 < count {
			end = begins[i+1]
		}
		data = append(binary.LittleEndian.AppendUint32(data, uint32(end-begin)), content[begin:end]...)
	}
	return data, nil
}

func releaseValue(value handle) { C.releaseValue(value) }

// graphRun runs a graph. outputs receives values made by ONNX Runtime, whose memory may
// be that of an input. The caller must release them.
func graphRun(s *step, options handle, inputs, outputs []handle) error {
	return take(C.run(s.session.handle, options, unsafe.SliceData(s.inputs), unsafe.SliceData(inputs), C.size_t(len(inputs)),
		unsafe.SliceData(s.outputs), C.size_t(len(outputs)), unsafe.SliceData(outputs)))
}

// setRunOption sets an entry of the run options.
func setRunOption(options handle, key, value string) error {
	pair := newNames([]string{key, value})
	defer pair.free()
	return take(C.addRunConfigEntry(options, pair[0], pair[1]))
}

// described is ONNX Runtime's description of a value.
type described struct {
	element onnx.TensorElementDataType // -1: it is not a tensor
	shape   tensor.Shape
	data    unsafe.Pointer // nil: texts
	text    int            // bytes of all texts, without their lengths
}

func describe(value handle) (described, error) {
	var d C.description
	if err := take(C.describe(value, &d)); err != nil {
		return described{}, err
	}
	if d.rank > C.size_t(len(d.shape)) {
		return described{}, fmt.Errorf("a tensor of %d dimensions cannot be read, at most %d are possible", d.rank, len(d.shape))
	}
	shape := make(tensor.Shape, d.rank)
	for i := range shape {
		shape[i] = int64(d.shape[i])
	}
	return described{onnx.TensorElementDataType(d.element), shape, d.data, int(d.textBytes)}, nil
}

// availableProviders returns the names of the execution providers of the library.
func availableProviders() ([]string, error) {
	var list **C.char
	var count C.int
	if err := take(C.availableProviders(&list, &count)); err != nil {
		return nil, err
	}
	defer C.releaseProviders(list, count)
	var found []string
	for _, name := range unsafe.Slice(list, count) {
		found = append(found, C.GoString(name))
	}
	return found, nil
}

// placements returns the number of operators of a session's graph by provider.
func placements(session handle) (map[string]int, error) {
	var list *unsafe.Pointer
	var count C.size_t
	if err := take(C.parts(session, &list, &count)); err != nil {
		return nil, err
	}
	counts := map[string]int{}
	for i := range count {
		var provider *C.char
		var operators C.size_t
		if err := take(C.part(list, i, &provider, &operators)); err != nil {
			return nil, err
		}
		counts[C.GoString(provider)] += int(operators)
	}
	return counts, nil
}

// cannotLoad says why the system's loader refuses a library, such as a file that it needs
// and that is missing; "" if it does not.
func cannotLoad(path string) string {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	return C.GoString(C.cannotLoad(name))
}
