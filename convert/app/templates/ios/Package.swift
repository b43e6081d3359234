// swift-tools-version: 5.9
import PackageDescription

let package = Package(
  name: "MobileIQA",
  platforms: [.iOS(.v15), .macOS(.v12)],
  products: [.library(name: "MobileIQA", targets: ["MobileIQA"])],
  dependencies: [
    // LiteRT's own package: its release with the Swift API. `-all_load` in it asks for a branch or revision.
    .package(url: "https://github.com/google-ai-edge/LiteRT", branch: "main")
  ],
  targets: [
    .target(
      name: "MobileIQA",
      dependencies: [.product(name: "LiteRT", package: "LiteRT")],
      resources: [.copy("Resources")]
    ),
    .testTarget(name: "MobileIQATests", dependencies: ["MobileIQA"]),
  ]
)
