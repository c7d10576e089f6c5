plugins {
    id("com.android.application")
    id("org.jetbrains.kotlin.android")
}

android {
    namespace = "pocketface.example"
    compileSdk = 35

    defaultConfig {
        applicationId = "pocketface.example"
        minSdk = 26
        targetSdk = 35
        versionCode = 1
        versionName = "0.1"
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    kotlinOptions {
        jvmTarget = "17"
    }

    // LiteRT maps the graphs into memory, which compressed assets do not allow.
    androidResources {
        noCompress += "tflite"
    }

    sourceSets["main"].assets.srcDir(layout.buildDirectory.dir("models"))
}

// One detector and one embedder of the repository, under the fixed names that the app opens.
val models by tasks.registering(Copy::class) {
    for (role in listOf("detector", "embedder")) {
        val stem = providers.gradleProperty(role).get()
        from(rootDir.resolve("../../models")) {
            include("$stem.tflite", "$stem.tflite.json")
            rename { it.replace(stem, role) }
        }
    }
    into(layout.buildDirectory.dir("models"))
}

tasks.named("preBuild") { dependsOn(models) }

dependencies {
    implementation("androidx.activity:activity-ktx:1.9.3")
    implementation("androidx.camera:camera-camera2:1.4.1")
    implementation("androidx.camera:camera-lifecycle:1.4.1")
    implementation("androidx.camera:camera-view:1.4.1")
    implementation("com.google.ai.edge.litert:litert:1.0.1")
}
