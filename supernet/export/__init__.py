"""Export of sub-DiTs and components as .onnx and .tflite files."""
