plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = "org.edgemoe.demo"
    compileSdk = 35

    defaultConfig {
        applicationId = "org.edgemoe.demo"
        minSdk = 26
        targetSdk = 35
        versionCode = 1
        versionName = "0.1"
        ndk { abiFilters += "arm64-v8a" }
    }

    buildTypes {
        release {
            isMinifyEnabled = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"), "rules.pro")
        }
    }

    // "plain" has its bundle imported, or among its assets; "play" has experts brought by Google Play.
    flavorDimensions += "delivery"
    productFlavors {
        create("plain") { dimension = "delivery" }
        create("play") { dimension = "delivery" }
    }

    testOptions {
        unitTests.isIncludeAndroidResources = true
        unitTests.all {
            it.jvmArgs("-Xmx2g", "--add-opens=java.base/java.io=ALL-UNNAMED")
            it.systemProperty("edgemoe.checkout", rootDir.parent)
        }
    }
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    implementation(project(":core"))
    implementation(libs.tensorflow.lite)
    implementation(libs.onnxruntime.android) // an app of its own takes the one library that its bundle needs
    "playImplementation"(libs.asset.delivery)
    testImplementation(libs.onnxruntime.jvm)
    testImplementation(libs.robolectric)
    testImplementation(libs.junit4)
}
