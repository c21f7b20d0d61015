# An image of mosel and ONNX Runtime: docs/operations.md, "In a container", says how to run it.

FROM golang:1.26-trixie AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build
# Install the pinned release of ONNX Runtime from GitHub, since this image has neither pip nor npm. Its digest is checked.
RUN library="$(bin/mosel runtime install)" && install -D -m 0644 "$library" /onnxruntime/libonnxruntime.so

FROM debian:trixie-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /onnxruntime /opt/onnxruntime
COPY --from=build /src/bin/mosel /usr/local/bin/mosel
ENV MOSEL_ONNXRUNTIME=/opt/onnxruntime/libonnxruntime.so
USER 65532:65532
# Mount model packages at /models. Without /models the built-in example is served.
WORKDIR /
# REST, gRPC, and metrics with probes.
EXPOSE 8000 8001 8002
# Arguments of "docker run" are appended and override these. For 5 s after SIGTERM the server still accepts requests, so
# that load balancers notice in time that it stops.
ENTRYPOINT ["/usr/local/bin/mosel", "serve", "--drain-delay", "5s", "--addr", "0.0.0.0:8000", "--grpc-addr", "0.0.0.0:8001", "--metrics-addr", "0.0.0.0:8002"]
