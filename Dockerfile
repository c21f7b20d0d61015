# An image of mosel and ONNX Runtime: docs/operations.md, "In a container", says how to run it.

FROM golang:1.26-trixie AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build
# The release that mosel pins, with its digest checked. It comes from GitHub: there is neither pip nor npm here.
RUN library="$(bin/mosel runtime install)" && install -D -m 0644 "$library" /onnxruntime/libonnxruntime.so

FROM debian:trixie-slim
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /onnxruntime /opt/onnxruntime
COPY --from=build /src/bin/mosel /usr/local/bin/mosel
ENV MOSEL_ONNXRUNTIME=/opt/onnxruntime/libonnxruntime.so
USER 65532:65532
# Packages are mounted at /models; without any, the built-in example is served.
WORKDIR /
# REST, gRPC, metrics and probes.
EXPOSE 8000 8001 8002
# What is given to "docker run" follows, and overrides. For 5 s after SIGTERM requests are still answered, so that load
# balancers see in time that the server leaves.
ENTRYPOINT ["/usr/local/bin/mosel", "serve", "--drain-delay", "5s", "--addr", "0.0.0.0:8000", "--grpc-addr", "0.0.0.0:8001", "--metrics-addr", "0.0.0.0:8002"]
